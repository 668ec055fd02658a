"""The command line ``minsheng``: JSON Lines in and out, progress on stderr.

Exit codes: 0 all good, 1 some items failed, 2 could not run.
"""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlp.errors import InputError, MinshengError
from service import cli_exchange, cli_lifecycle, cli_results, render
from service.cli_cases import cases_app
from service.cli_exchange import SomeFailed
from service.cli_keys import keys_app
from service.cli_models import (
    ModelOption,
    evaluate_app,
    models_app,
    open_engine,
    open_store,
    print_json,
    progress_bar,
    read_settings,
    require_index,
    train_app,
)
from service.cli_store import store_app
from service.cli_topics import topics_app
from service.intake import read_bytes
from service.settings import Settings
from service.sheets import decode, json_rows
from service.steps import State

app = typer.Typer(no_args_is_help=True, add_completion=False, help="民声：离线的社情民意信息分类、查重与选题服务。")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(models_app, name="models")
app.add_typer(cases_app, name="cases")
app.add_typer(store_app)
app.add_typer(keys_app, name="keys")
app.command("import")(cli_exchange.import_)
app.command("export")(cli_exchange.export)
cli_lifecycle.install(app)
cli_results.install(app)
app.add_typer(topics_app, name="topics")

_BATCH = 32
_LOOPBACK_BINDS = {"127.0.0.1", "localhost", "::1"}


def main() -> None:
    """Entry point: errors of ours become one line on stderr and the exit code."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever the locale says, the contract is UTF-8
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        app()
    except SomeFailed:
        sys.exit(1)
    except MinshengError as error:
        typer.echo(f"错误：{error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        typer.echo(f"错误：{error.filename or ''}：{error.strerror or error}", err=True)
        sys.exit(2)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="监听地址")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="端口", min=1, max=65535)] = 8000,
    model: ModelOption = None,
) -> None:
    """启动 HTTP 服务和网页。"""
    import uvicorn  # noqa: PLC0415  (only for this command)

    from service.app import create_app  # noqa: PLC0415
    from service.engine import load_models  # noqa: PLC0415
    from service.keys import Keys  # noqa: PLC0415

    settings = read_settings(model)
    with open_store(settings) as store, _listening(host, port, Keys(store)) as listener:
        models = load_models(settings)
        require_index(store, models.encoder.encoder_id)
        config = uvicorn.Config(create_app(settings, models, store), log_level="warning", access_log=False)
        typer.echo(f"民声已启动：http://{host}:{port}", err=True)
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int, keys: Any) -> Iterator[socket.socket]:
    """A socket bound before anything heavy is loaded: a port in use, or a bind that needs a key, is said at once."""
    if host not in _LOOPBACK_BINDS and not keys.active():
        raise MinshengError(
            f"未设置有效的访问密钥，只能监听本机地址（{'、'.join(sorted(_LOOPBACK_BINDS))}），不能监听 {host}；"
            "先用 minsheng keys add 新增密钥"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise MinshengError(f"无法监听 {host}:{port}：{error.strerror}；请换一个 --port") from error
        yield listener


@app.command()
def classify(
    file: Annotated[str, typer.Argument(help="JSON Lines 文件，- 为标准输入")],
    model: ModelOption = None,
) -> None:
    """分类：每行一条 {"id","title"?,"text"}，逐行输出结果。"""
    from service.batch import classify_items  # noqa: PLC0415  (loads the models' libraries)

    _answer_lines(file, "分类", classify_items, read_settings(model))


@app.command()
def compare(file: Annotated[str, typer.Argument(help="JSON Lines 文件，- 为标准输入")]) -> None:
    """比较：每行一条 {"id","a","b"}，逐行输出是重复、相关还是无关，附概率、冲突与相互对应的句子。"""
    from service.batch import compare_items  # noqa: PLC0415  (loads the models' libraries)

    _answer_lines(file, "比较", compare_items, read_settings())


@app.command()
def route(file: Annotated[str, typer.Argument(help="JSON Lines 文件，- 为标准输入")]) -> None:
    """拟办：每行一条 {"id","title"?,"text","district"?,"address"?}，逐行输出拟由谁主办、协办、理由与依据。"""
    from service.routing import route_items  # noqa: PLC0415  (loads the models' libraries)

    _answer_lines(file, "拟办", route_items, read_settings())


def _answer_lines(
    file: str, what: str, work: Callable[[Any, list[Any]], list[dict[str, Any]]], settings: Settings
) -> None:
    """One answer a line, in order; a line that is no JSON object fails alone."""
    rows = list(json_rows(_lines(file)))
    failed = False
    with open_engine(settings) as engine, progress_bar() as progress:
        task = progress.add_task(what, total=len(rows))
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            good = [row.cells for row in batch if not row.problem]
            answers = iter(engine.run(lambda good=good: work(engine, good)))
            for row in batch:
                bad = InputError("invalid_json", f"第 {row.number} 行", row.problem or "")
                answer = render.failed(None, bad) if row.problem else next(answers)
                failed |= "error" in answer
                print_json(answer)
            progress.advance(task, len(batch))
    if failed:
        raise SomeFailed


@app.command()
def similar(
    text: Annotated[str, typer.Argument(help="要查找的文字，- 为标准输入")],
    limit: Annotated[int, typer.Option(help="返回条数", min=1, max=100)] = 10,
    format: Annotated[Literal["text", "json"], typer.Option("--format", help="输出格式")] = "text",
    theme: Annotated[str | None, typer.Option(help="只要这个主题")] = None,
    matter: Annotated[str | None, typer.Option(help="只要这个细类")] = None,
    district: Annotated[str | None, typer.Option(help="只要这个区（市、县）")] = None,
    source: Annotated[str | None, typer.Option(help="只要这个来源")] = None,
    received_from: Annotated[str | None, typer.Option(help="收到日期不早于")] = None,
    received_to: Annotated[str | None, typer.Option(help="收到日期不晚于（只给日期时含当天）")] = None,
    in_case: Annotated[bool | None, typer.Option("--in-case/--not-in-case", help="只要在（不在）并案中的")] = None,
    state: Annotated[State | None, typer.Option(help="只要这个状态")] = None,
) -> None:
    """在已登记的材料中查找相似的，可加条件。"""
    from service.batch import similar_items  # noqa: PLC0415  (loads the models' libraries)
    from service.search import read_filters  # noqa: PLC0415

    settings = read_settings()
    conditions = {"theme": theme, "matter": matter, "district": district, "source": source,
                  "received_from": received_from, "received_to": received_to, "in_case": in_case,
                  "state": state}  # fmt: skip
    query = "\n".join(_lines("-")) if text == "-" else text
    with open_engine(settings) as engine, open_store(settings) as store:
        require_index(store, engine.models.encoder.encoder_id)
        filters = read_filters(conditions, engine.models.taxonomy)
        items = engine.run(lambda: similar_items(engine, store, (None, query), limit, filters))
    if format == "json":
        print_json({"items": [{k: v for k, v in item.items() if k != "text"} for item in items]})
        return
    for item in items:
        grade = render.GRADES.get(item["relation"], "—")
        row = (f"{item['score']:.3f}", grade, item["external_id"], item["received_at"] or "—", item["title"])
        typer.echo("  ".join(row))
        for match in item["shared"][:1]:
            typer.echo(f"       “{match['a_text']}” ≈ “{match['b_text']}”")
    if not items:
        typer.echo("没有符合条件的材料。" if filters else "还没有登记任何材料。", err=True)


@app.command()
def reindex() -> None:
    """为缺少向量（换编码器之后）或检索用词（旧版登记）的材料补算，全部算好后一次切换；并由经过重建办理状态。"""
    from service.engine import lacking  # noqa: PLC0415  (loads the models' libraries)
    from service.engine import reindex as reindex_all  # noqa: PLC0415
    from service.lifecycle import Lifecycle  # noqa: PLC0415

    settings = read_settings()
    with open_engine(settings) as engine, open_store(settings) as store, progress_bar() as progress:
        Lifecycle(store).rebuild()
        encoder_id = engine.models.encoder.encoder_id
        total = sum(map(len, lacking(store, encoder_id)))
        task = progress.add_task("重新分析", total=total)

        def work() -> None:
            for done in reindex_all(engine, store, render.answer):
                progress.update(task, completed=done)

        engine.run(work)
        print_json({"reindexed": total - sum(map(len, lacking(store, encoder_id)))})


def _lines(file: str) -> list[str]:
    if file == "-":
        return decode("标准输入", sys.stdin.buffer.read()).split("\n")
    return decode(file, read_bytes(Path(file))).split("\n")


if __name__ == "__main__":
    main()
