"""The commands ``cases``: merge, look, undo, suggest, and the notice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli_models import (
    open_engine,
    open_store,
    print_json,
    progress_bar,
    read_settings,
    reporter,
    require_index,
)

cases_app = typer.Typer(no_args_is_help=True, help="并案与续报：合并、查看、撤销、建议、并案说明。")
CaseNumber = Annotated[int, typer.Argument(help="并案编号")]
Actor = Annotated[str, typer.Option("--actor", help="经办人")]
Reason = Annotated[str, typer.Option("--reason", help="理由")]
Format = Annotated[Literal["text", "json"], typer.Option("--format", help="输出格式")]


@contextmanager
def _cases() -> Iterator[Any]:
    from service.cases import Cases  # noqa: PLC0415  (loads the database's libraries)

    with open_store(read_settings()) as store:
        yield Cases(store)


@contextmanager
def _duplicates() -> Iterator[Any]:
    from service.duplicates import Duplicates  # noqa: PLC0415  (loads the models' libraries)

    settings = read_settings()
    with open_engine(settings) as engine, open_store(settings) as store:
        require_index(store, engine.models.encoder.encoder_id)
        yield Duplicates(engine, store)


def _print_case(cases: Any, case: Any) -> None:
    from service import render  # noqa: PLC0415

    print_json(render.case(cases.outline(case)))


@cases_app.command("merge")
def merge(
    members: Annotated[list[int], typer.Argument(help="材料编号；不给 --lead 时第一个为主件")],
    actor: Actor,
    reason: Reason,
    lead: Annotated[int | None, typer.Option(help="主件编号，须在成员之中")] = None,
) -> None:
    """把几件材料并为一案；各件的编号、原文、日期和反映人不变。"""
    with _cases() as cases:
        _print_case(cases, cases.merge(members[0] if lead is None else lead, members, actor, reason))


@cases_app.command("join")
def join(
    number: CaseNumber,
    members: Annotated[list[int], typer.Argument(help="要并入的材料编号")],
    actor: Actor,
    reason: Reason,
) -> None:
    """把后来的材料并入已有的并案。"""
    with _cases() as cases:
        _print_case(cases, cases.join(number, members, actor, reason))


@cases_app.command("undo")
def undo(
    number: CaseNumber,
    actor: Actor,
    reason: Reason,
    member: Annotated[int | None, typer.Option(help="只撤出这一件；不给则撤销整个并案")] = None,
) -> None:
    """撤出一件，或撤销整个并案。"""
    with _cases() as cases:
        _print_case(cases, cases.undo(number, actor, reason, member))


@cases_app.command("list")
def list_(
    state: Annotated[Literal["open", "undone"] | None, typer.Option(help="open 有效，undone 已撤销")] = None,
) -> None:
    """列出并案，每行一个 JSON 对象。"""
    with _cases() as cases:
        after = 0
        while page := cases.page(after=after, limit=200, state=state):
            for case in page:
                _print_case(cases, case)
            after = page[-1].id


@cases_app.command("show")
def show(number: CaseNumber) -> None:
    """一个并案：各件原文、补充诉求、续报与经过（JSON）。"""
    from service import render  # noqa: PLC0415

    with _duplicates() as duplicates:
        print_json(render.case_detail(duplicates.view(number)))


@cases_app.command("notice")
def notice(
    number: CaseNumber,
    format: Annotated[Literal["text", "html"], typer.Option("--format", help="html 可用 Word 打开、打印")] = "text",
    out: Annotated[str, typer.Option(help="输出文件，- 为标准输出")] = "-",
) -> None:
    """一页并案说明；个人信息已遮盖。"""
    from service.notice import notice as render_notice  # noqa: PLC0415

    with _duplicates() as duplicates:
        page = render_notice(duplicates.view(number), format)
    if out == "-":
        typer.echo(page)
    else:
        Path(out).write_text(page, encoding="utf-8")


@cases_app.command("suggest")
def suggest(
    format: Format = "text",
    limit: Annotated[int, typer.Option(help="至多给出多少个建议", min=1)] = 100,
) -> None:
    """在全部材料中找出可以并案的：一组中任意两件都判为重复。"""
    from service import render  # noqa: PLC0415

    with _duplicates() as duplicates, progress_bar() as progress:
        found = render.suggestions(duplicates.suggest(reporter(progress)), limit)
    if format == "json":
        print_json(found)
        return
    for number, item in enumerate(found["items"], 1):
        into = f"，并入并案 {item['case']}" if item["case"] else ""
        typer.echo(
            f"建议 {number}：{item['count']} 件，反映人 {item['voices']} 人，把握 {item['probability']:.2f}{into}"
        )
        for one in item["materials"]:
            mark = "主件" if one["id"] == item["lead"] else "    "
            typer.echo(f"  {mark} {one['id']}  {one['external_id']}  {one['received_at'] or '—'}  {one['title']}")
    for one in found["follows"]:
        typer.echo(f"续报：{one['id']} 号续 {one['earlier']} 号，把握 {one['probability']:.2f}")
    typer.echo(f"共 {found['total']} 个并案建议，{len(found['follows'])} 个续报建议。", err=True)


@cases_app.command("follow")
def follow(
    number: Annotated[int, typer.Argument(help="续报的编号")],
    earlier: Annotated[int, typer.Argument(help="此前那一件的编号")],
    actor: Actor,
    reason: Reason,
) -> None:
    """登记续报：同一反映人再次反映，或对答复不满意。"""
    with _cases() as cases:
        cases.follow(number, earlier, actor, reason)
    print_json({"id": number, "follows": earlier})


@cases_app.command("unfollow")
def unfollow(
    number: Annotated[int, typer.Argument(help="续报的编号")],
    actor: Actor,
    reason: Reason,
) -> None:
    """解除续报关系。"""
    with _cases() as cases:
        cases.unfollow(number, actor, reason)
    print_json({"id": number, "follows": None})
