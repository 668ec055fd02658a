"""The commands ``import`` and ``export``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlp.errors import InputError, MinshengError
from nlp.taxonomy import load_taxonomy
from service import intake, render
from service.cli_models import open_engine, open_store, print_json, progress_bar, read_settings, require_index
from service.cli_results import add_people
from service.cli_topics import import_works
from service.columns import read_mapping
from service.documents import Split
from service.exports import Format, table, write
from service.intake import Reading, Rejected
from service.lifecycle import Lifecycle
from service.replies import take
from service.roster import read_sheet
from service.search import read_filters
from service.settings import Settings
from service.sheets import Sheet
from service.steps import State

_BATCH = 32


class SomeFailed(MinshengError):
    """Some items failed: exit code 1, after everything else was written."""


def import_(
    file: Annotated[str, typer.Argument(help="CSV、XLSX、JSON Lines、DOCX 或 TXT 文件，- 为从标准输入粘贴的文字")],
    map: Annotated[str, typer.Option("--map", help="字段=列名，用逗号分隔，如 text=留言详情,title=留言主题")] = "",
    source: Annotated[str | None, typer.Option(help="来源名称，写入每一条")] = None,
    rejects: Annotated[Path | None, typer.Option(help="把不能导入的行写入这个 CSV 文件，改正后可再导入")] = None,
    split: Annotated[Split, typer.Option(help="DOCX 与文字怎样分成几件")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="只报告会怎样，不登记")] = False,
    as_: Annotated[
        Literal["submissions", "research", "priorities", "roster"],
        typer.Option("--as", help="submissions 材料，research 以往课题与提案，priorities 当年重点任务，roster 名册"),
    ] = "submissions",
    term: Annotated[str | None, typer.Option(help="名册中没有写届次的行的届次")] = None,
) -> None:
    """导入材料（或以往课题、重点任务、名册）：可重复执行，中断后重来即可，同一编号不会重复登记；坏行单独报告，好行照常导入。"""
    writable(rejects)
    if term is not None and as_ != "roster":
        raise MinshengError("--term 只用于名册")
    settings = read_settings()
    name, content = ("标准输入.txt", sys.stdin.buffer.read()) if file == "-" else (file, intake.read_bytes(Path(file)))
    given = read_mapping(map)
    bad: Sequence[Rejected]
    if as_ != "submissions":
        if dry_run:
            raise MinshengError("--dry-run 只用于材料")
        if as_ == "roster":
            sheet = read_sheet(name, content, tuple(given.values()))
            counts, bad = add_people(sheet, given, term, settings)
        else:
            sheet = intake.read(name, content, tuple(given.values()), split)
            counts, bad = import_works(sheet, as_, given, settings)
        print_json(counts)
    else:
        reading = intake.understand(name, content, given, source, split, settings.max_chars)
        sheet, bad = reading.sheet, reading.bad
        if dry_run:
            with open_store(settings) as store:
                print_json(intake.report(reading, store))
        else:
            counts, bad = _import(reading, settings)
            print_json(counts)
    _report_rejected(sheet, sorted(bad, key=lambda r: r.row.number), rejects)
    if bad:
        raise SomeFailed


def _import(reading: Reading, settings: Settings) -> tuple[dict[str, int], list[Rejected]]:
    """Store what is good, a portion a transaction: what a killed run has stored is unchanged to the next."""
    from service.engine import store_batch  # noqa: PLC0415  (loads the models' libraries)

    counts = {"read": len(reading.sheet.rows), "new": 0, "revised": 0, "unchanged": 0, "erased": 0}
    bad = list(reading.bad)
    for note in reading.sheet.notes:
        typer.echo(f"提示：{note}", err=True)
    with open_engine(settings) as engine, open_store(settings) as store, progress_bar() as progress:
        require_index(store, engine.models.encoder.encoder_id)
        task = progress.add_task("导入", total=len(reading.good))
        for start in range(0, len(reading.good), _BATCH):
            portion = reading.good[start : start + _BATCH]
            batch = [item.submission for item in portion]
            settle = partial(take, store, given=[item.reply for item in portion], actor="import")
            outcomes = engine.run(
                lambda batch=batch, settle=settle: store_batch(engine, store, batch, render.answer, "import", settle)
            )
            for item, outcome in zip(portion, outcomes, strict=True):
                if isinstance(outcome, InputError):
                    bad.append(Rejected(item.row, outcome.field, outcome.detail))
                    continue
                counts[outcome[1]] += 1
                if outcome[1] == "erased":
                    typer.echo(f"第 {item.row.number} 行未导入：{outcome[0]} 号材料已删除，不再登记", err=True)
            progress.advance(task, len(batch))
    return counts | {"rejected": len(bad)}, bad


def _report_rejected(sheet: Sheet, bad: Sequence[Rejected], target: Path | None) -> None:
    for rejected in bad:
        typer.echo(f"第 {rejected.row.number} 行未导入：{rejected.field}：{rejected.detail}", err=True)
    if target is not None:
        content = intake.rejects_csv(sheet.columns, bad)
        target.write_text(content, encoding="utf-8-sig", newline="")


def export(
    format: Annotated[Format, typer.Option("--format", help="输出格式")] = "jsonl",
    out: Annotated[str, typer.Option(help="输出文件，- 为标准输出（xlsx 须给出文件）")] = "-",
    ledger: Annotated[bool, typer.Option("--ledger", help="按台账的栏目导出")] = False,
    theme: Annotated[str | None, typer.Option(help="只要这个主题")] = None,
    matter: Annotated[str | None, typer.Option(help="只要这个细类")] = None,
    district: Annotated[str | None, typer.Option(help="只要这个区（市、县）")] = None,
    source: Annotated[str | None, typer.Option(help="只要这个来源")] = None,
    received_from: Annotated[str | None, typer.Option(help="收到日期不早于")] = None,
    received_to: Annotated[str | None, typer.Option(help="收到日期不晚于（只给日期时含当天）")] = None,
    in_case: Annotated[bool | None, typer.Option("--in-case/--not-in-case", help="只要在（不在）并案中的")] = None,
    state: Annotated[State | None, typer.Option(help="只要这个状态")] = None,
) -> None:
    """导出已登记的材料及分析结果，或台账；个人信息已遮盖。"""
    if format == "xlsx" and out == "-":
        raise MinshengError("xlsx 不能写到标准输出，请用 --out 给出文件")
    writable(None if out == "-" else Path(out))
    settings = read_settings()
    conditions: dict[str, Any] = {"theme": theme, "matter": matter, "district": district, "source": source,
                                  "received_from": received_from, "received_to": received_to,
                                  "in_case": in_case, "state": state}  # fmt: skip
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    filters = read_filters(conditions, taxonomy)
    with open_store(settings) as store:
        content = table(store, filters, taxonomy, Lifecycle(store).standing, ledger=ledger)
        if out == "-":
            write(sys.stdout.buffer, format, content)
        else:
            with Path(out).open("wb") as stream:
                write(stream, format, content)


def writable(path: Path | None) -> None:
    """Say before the work, not after it, that a file cannot be written; raises MinshengError."""
    if path is not None and not path.parent.is_dir():
        raise MinshengError(f"{path}：目录 {path.parent} 不存在，无法写入")
