"""The commands ``topics``: list, candidates, check, steps of researchers; and the import of works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlp.errors import InputError, MinshengError
from service.cli_cases import Actor, Format, Reason
from service.cli_models import (
    open_engine,
    open_store,
    print_json,
    progress_bar,
    read_settings,
    require_index,
)
from service.columns import guess_columns
from service.intake import Rejected
from service.settings import Settings
from service.sheets import Sheet

topics_app = typer.Typer(help="议题与选题：列出、候选、查新、定名、合并、置顶、搁置。")
AsOf = Annotated[str | None, typer.Option("--as-of", help="截至哪一天（按收到日期），默认为最近有材料的一天")]
TopicNumber = Annotated[int, typer.Argument(help="议题编号")]


@contextmanager
def _topics() -> Iterator[Any]:
    from service.lifecycle import Lifecycle  # noqa: PLC0415
    from service.topics import Topics  # noqa: PLC0415  (loads the models' libraries)

    settings = read_settings()
    with open_engine(settings) as engine, open_store(settings) as store:
        require_index(store, engine.models.encoder.encoder_id)
        yield Topics(engine, store, Lifecycle(store).standing)


@topics_app.callback(invoke_without_command=True)
def list_(context: typer.Context, as_of: AsOf = None, format: Format = "text") -> None:
    """列出议题；新到的材料先归入议题。"""
    if context.invoked_subcommand is not None:
        return
    from service import render_topics  # noqa: PLC0415
    from service.topic_views import overview  # noqa: PLC0415

    with _topics() as topics:
        found = render_topics.topics(overview(topics, as_of), topics.store)
    if format == "json":
        print_json(found)
        return
    below: dict[int | None, list[dict[str, Any]]] = {}
    for one in found["topics"]:
        if one["state"] == "open":
            below.setdefault(one["parent"] if one["level"] == "concrete" else None, []).append(one)
    for broad in below.get(None, []):
        typer.echo(_line(broad))
        for one in below.get(broad["id"], []):
            typer.echo(f"    {_line(one)}")
    share = found["coverage"]
    typer.echo(
        f"截至 {found['as_of'] or '日期不详'}：{share['submissions']} 件，{share['scattered']} 件零散。", err=True
    )
    _say(found["notes"])


def _line(one: dict[str, Any]) -> str:
    pinned = "★ " if one["pinned"] else ""
    return f"{pinned}{one['id']}  {one['name']}  {one['size']} 件，{one['voices']} 人，{one['trend']['label']}"


def _say(notes: list[str]) -> None:
    for note in notes:
        typer.echo(f"提示：{note}", err=True)


@topics_app.command("candidates")
def candidates(
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(help="至多给出多少个", min=1, max=100)] = 10,
    format: Annotated[
        Literal["text", "json", "xlsx", "docx"], typer.Option("--format", help="docx 为选题建议表")
    ] = "text",
    out: Annotated[Path | None, typer.Option(help="输出文件（xlsx、docx 须给出）")] = None,
) -> None:
    """候选选题：按反映人数、上升、区县、办理、重点任务与查新打分，逐项写明依据。"""
    from service import render_topics, topic_files  # noqa: PLC0415
    from service.candidates import select  # noqa: PLC0415

    if format in {"xlsx", "docx"} and (out is None or not out.parent.is_dir()):
        raise MinshengError(f"{format} 须用 --out 给出文件，所在目录须存在")
    with _topics() as topics:
        found = select(topics, as_of, limit)
    plain = render_topics.selection(found)
    if out is not None and format in {"xlsx", "docx"}:
        out.write_bytes(topic_files.workbook(found) if format == "xlsx" else topic_files.document(found))
    elif format == "json":
        _output(json.dumps(plain, ensure_ascii=False), out)
    else:
        lines = [
            f"{i}. {one['name']}  {one['score']:.2f}  {one['reason']}" for i, one in enumerate(plain["candidates"], 1)
        ]
        lines += [f"此前已研究：{one['name']}（{one['studied'][0]['title']}）" for one in plain["studied"]]
        lines += [f"薄弱：{gap['note']}" for gap in plain["gaps"]]
        _output("\n".join(lines) or "没有达到人数的选题。", out)
    _say(plain["notes"])


def _output(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text + "\n", encoding="utf-8")


@topics_app.command("check")
def check_(
    text: Annotated[str, typer.Argument(help="题目或一段说明")],
    title: Annotated[str | None, typer.Option(help="题目；给出时 TEXT 为说明")] = None,
    format: Format = "text",
) -> None:
    """领导点题查新：与已登记的材料、议题、以往课题与提案比对。"""
    from service import render_topics  # noqa: PLC0415
    from service.topic_checks import check  # noqa: PLC0415

    with _topics() as topics:
        found = render_topics.check(check(topics, title, text))
    if format == "json":
        print_json(found)
        return
    typer.echo(found["verdict"])
    for one in found["topics"]:
        typer.echo(
            f"  议题 {one['topic']}  {one['name']}  {one['size']} 件，{one['voices']} 人，{one['trend']['label']}"
        )
    for one in found["studied"]:
        typer.echo(f"  以往  {one['title']}（{one['year'] or '年份不详'}，{one['status'] or '状态不详'}）")
    for one in found["similar"]:
        typer.echo(f"  材料  {one['external_id']}  {one['received_at'] or '—'}  {one['title']}")


@topics_app.command("rename")
def rename(
    number: TopicNumber, name: Annotated[str, typer.Argument(help="议题名称")], actor: Actor, reason: Reason
) -> None:
    """给议题定名；重新归类也不变。"""
    with _topics() as topics:
        topics.rename(number, name, actor, reason)
        _print_history(topics, number)


@topics_app.command("merge")
def merge(
    number: TopicNumber, into: Annotated[int, typer.Argument(help="并入的议题编号")], actor: Actor, reason: Reason
) -> None:
    """并入另一个同级议题；材料不动，可以恢复。"""
    with _topics() as topics:
        topics.merge(number, into, actor, reason)
        _print_history(topics, number)


@topics_app.command("pin")
def pin(
    number: TopicNumber,
    actor: Actor,
    reason: Reason,
    off: Annotated[bool, typer.Option("--off", help="取消置顶")] = False,
) -> None:
    """置顶议题。"""
    with _topics() as topics:
        topics.pin(number, not off, actor, reason)
        _print_history(topics, number)


@topics_app.command("dismiss")
def dismiss(number: TopicNumber, actor: Actor, reason: Reason) -> None:
    """搁置议题，不再列为候选。"""
    with _topics() as topics:
        topics.dismiss(number, actor, reason)
        _print_history(topics, number)


@topics_app.command("restore")
def restore(number: TopicNumber, actor: Actor, reason: Reason) -> None:
    """撤销合并或搁置。"""
    with _topics() as topics:
        topics.restore(number, actor, reason)
        _print_history(topics, number)


@topics_app.command("history")
def history(number: TopicNumber) -> None:
    """一个议题的经过（JSON）。"""
    with _topics() as topics:
        _print_history(topics, number)


@topics_app.command("regroup")
def regroup(actor: Actor, reason: Reason) -> None:
    """全部重新归类；研究人员改过的议题不动，其余的尽量沿用原编号。"""
    with _topics() as topics:
        print_json({"regrouped": topics.regroup(actor, reason)})


def _print_history(topics: Any, number: int) -> None:
    print_json({"id": number, "events": topics.history(number)})


def import_works(
    sheet: Sheet, kind_name: str, given: dict[str, str], settings: Settings
) -> tuple[dict[str, int], list[Rejected]]:
    """Import past research or the tasks of a year: counts, and the rows that could not be stored."""
    from service.works import COLUMNS, KINDS, Works, to_work  # noqa: PLC0415  (loads the database's libraries)

    mapping = guess_columns(sheet.columns, given, *COLUMNS) if sheet.rows else {}
    good, bad = [], []
    for row in sheet.rows:
        try:
            good.append((row, to_work(row, mapping, KINDS[kind_name], settings.max_chars)))
        except InputError as error:
            bad.append(Rejected(row, error.field, error.detail))
    counts = {"read": len(sheet.rows), "new": 0, "revised": 0, "unchanged": 0, "rejected": 0}
    with open_engine(settings) as engine, open_store(settings) as store, progress_bar() as progress:
        task = progress.add_task("导入", total=len(good))
        outcomes = engine.run(lambda: list(Works(store).add(engine, [work for _, work in good], "import")))
        progress.update(task, completed=len(good))
    for (row, _), outcome in zip(good, outcomes, strict=True):
        if isinstance(outcome, InputError):
            bad.append(Rejected(row, outcome.field, outcome.detail))
        else:
            counts[outcome] += 1
    counts["rejected"] = len(bad)
    return counts, bad
