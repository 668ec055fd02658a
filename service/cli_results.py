"""The commands of results: ``roster``, ``bulletins`` and ``results``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nlp.errors import InputError, MinshengError
from service.cli_cases import Actor, Format, Reason
from service.cli_models import open_store, print_json, read_settings
from service.intake import Rejected
from service.settings import Settings
from service.sheets import Sheet

roster_app = typer.Typer(no_args_is_help=True, help="名册：委员与单位。")
bulletins_app = typer.Typer(no_args_is_help=True, help="编发：把几件材料编成一份，编发、撤回、记采用。")
results_app = typer.Typer(no_args_is_help=True, help="采用通报与履职。")
BulletinNumber = Annotated[int, typer.Argument(help="编发的编号")]
Title = Annotated[str, typer.Option(help="标题")]
Body = Annotated[Path, typer.Option("--body", help="正文所在的文本文件")]
To = Annotated[list[str] | None, typer.Option("--to", help="报送对象，可多次给出")]
Source = Annotated[list[int], typer.Option("--source", help="来稿的材料编号，可多次给出，按文中次序")]
From_ = Annotated[str, typer.Option("--from", help="起（含），如 2026-01-01")]
Until = Annotated[str, typer.Option("--to", help="止（含）")]
AsOf = Annotated[str | None, typer.Option("--as-of", help="只看到这时为止的记录，不给为现在")]
Term = Annotated[str | None, typer.Option("--term", help="届次，不给为全部")]
Out = Annotated[Path | None, typer.Option("--out", help="输出文件（xlsx、docx 必须给出）")]


@contextmanager
def _bulletins() -> Iterator[Any]:
    from service.bulletins import Bulletins  # noqa: PLC0415  (loads the database's libraries)
    from service.lifecycle import Lifecycle, load_rules  # noqa: PLC0415

    settings = read_settings()
    with open_store(settings) as store:
        yield Bulletins(Lifecycle(store, load_rules(settings)))


def _print(bulletins: Any, found: Any) -> None:
    from service.render_results import bulletin_detail  # noqa: PLC0415

    print_json(bulletin_detail(bulletins, found))


def _text(title: str, body: Path, to: list[str] | None, source: list[int]) -> Any:
    from service.bulletins import read_text  # noqa: PLC0415
    from service.sheets import decode  # noqa: PLC0415

    return read_text(title, decode(body, body.read_bytes()), to or [], source)


@roster_app.command("import")
def import_roster(
    file: Annotated[Path, typer.Argument(help="CSV、XLSX 或 JSON Lines 文件")],
    actor: Actor,
    reason: Reason,
    term: Annotated[str | None, typer.Option(help="没有写届次的行的届次")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="文件所涉届次中，不在文件里的从此不再列入")] = False,
) -> None:
    """导入整份名册（换届用）：有一行不对就整份不导入；可重复执行，有变的记下从何时起。"""
    from service import intake, roster  # noqa: PLC0415  (loads the database's libraries)

    people = roster.read_roster(roster.read_sheet(str(file), intake.read_bytes(file)), term)
    with open_store(read_settings()) as store:
        print_json(roster.keep(store, people, actor, reason, replace=replace))


def add_people(
    sheet: Sheet, given: dict[str, str], term: str | None, settings: Settings
) -> tuple[dict[str, int], list[Rejected]]:
    """Import people of the roster row by row: counts, and the rows that could not be stored."""
    from service import roster  # noqa: PLC0415  (loads the database's libraries)

    good, bad = roster.understand(sheet, given, term)
    with open_store(settings) as store:
        outcomes = roster.add(store, [person for _, person in good], "import")
    counts = {"read": len(sheet.rows), "new": 0, "revised": 0, "unchanged": 0}
    for (row, _), outcome in zip(good, outcomes, strict=True):
        if isinstance(outcome, InputError):
            bad.append(Rejected(row, outcome.field, outcome.detail))
        else:
            counts[outcome] += 1
    return counts | {"rejected": len(bad)}, bad


@roster_app.command("list")
def list_roster(format: Format = "text") -> None:
    """列出名册。"""
    from service import roster  # noqa: PLC0415  (loads the database's libraries)
    from service.render_results import member  # noqa: PLC0415

    with open_store(read_settings()) as store, store.reading() as connection:
        found = roster.load(store, connection)
    for one in found:
        p = one.person
        told = (str(one.id), p.term or "—", p.kind, p.name, p.code or "—", p.sector or "—", p.committee or "—")
        print_json(member(one)) if format == "json" else typer.echo("  ".join(told))


@bulletins_app.command("create")
def create(
    title: Title,
    body: Body,
    source: Source,
    actor: Actor,
    reason: Reason,
    to: To = None,
    series: Annotated[str | None, typer.Option(help="刊名，期号按刊名与年份各自连续")] = None,
) -> None:
    """新建一份编发（草稿）。"""
    from service.bulletins import SERIES  # noqa: PLC0415

    with _bulletins() as bulletins:
        _print(bulletins, bulletins.create(series or SERIES, _text(title, body, to, source), actor, reason))


@bulletins_app.command("save")
def save(
    number: BulletinNumber,
    title: Title,
    body: Body,
    source: Source,
    base: Annotated[int, typer.Option(help="从第几版改的")],
    actor: Actor,
    reason: Reason,
    to: To = None,
) -> None:
    """草稿存一个新版本。"""
    with _bulletins() as bulletins:
        _print(bulletins, bulletins.save(number, base, _text(title, body, to, source), actor, reason))


@bulletins_app.command("show")
def show(number: BulletinNumber) -> None:
    """一份编发的全文与经过。"""
    with _bulletins() as bulletins:
        _print(bulletins, bulletins.get(number))


@bulletins_app.command("list")
def list_bulletins() -> None:
    """列出各份编发。"""
    with _bulletins() as bulletins:
        after = 0
        while page := bulletins.page(after=after, limit=200):
            for one in page:
                typer.echo("  ".join((str(one.id), one.series, one.issue or "—", one.state, one.text.title)))
            after = page[-1].id


@bulletins_app.command("diff")
def diff(
    number: BulletinNumber,
    a: Annotated[int, typer.Argument(help="旧的一版")],
    b: Annotated[int, typer.Argument(help="新的一版")],
) -> None:
    """两版的差别，逐句：- 删去，+ 新增。"""
    from service.bulletins import difference  # noqa: PLC0415

    with _bulletins() as bulletins:
        changes = difference(bulletins.version(number, a), bulletins.version(number, b))
    signs = {"same": " ", "removed": "-", "added": "+"}
    for one in changes:
        typer.echo(f"{signs[one.op]} {one.text.rstrip()}")


@bulletins_app.command("issue")
def issue(
    number: BulletinNumber, base: Annotated[int, typer.Option(help="编发第几版")], actor: Actor, reason: Reason
) -> None:
    """编发：给出期号，记入各件来稿的经过。"""
    with _bulletins() as bulletins:
        _print(bulletins, bulletins.issue(number, base, actor, reason))


@bulletins_app.command("withdraw")
def withdraw(number: BulletinNumber, actor: Actor, reason: Reason) -> None:
    """作废草稿，或撤回已编发的。"""
    with _bulletins() as bulletins:
        _print(bulletins, bulletins.withdraw(number, actor, reason))


@bulletins_app.command("adopt")
def adopt(
    number: BulletinNumber,
    level: Annotated[str, typer.Option(help="全国、省、市、区（市、县）")],
    actor: Actor,
    reason: Reason,
    form: Annotated[str | None, typer.Option(help="单篇、综合、转送")] = None,
    issue: Annotated[str | None, typer.Option(help="采用刊物的期号")] = None,
    on: Annotated[str | None, typer.Option(help="采用的日期，不给则为今天")] = None,
) -> None:
    """编发被采用：一次记在各件来稿上。"""
    with _bulletins() as bulletins:
        given = {"level": level, "form": form, "issue": issue, "happened_on": on}
        applied = bulletins.adopt(number, given, actor, reason)
    print_json({"id": number, "applied": list(applied)})


@bulletins_app.command("unadopt")
def unadopt(
    number: BulletinNumber,
    event: Annotated[int, typer.Option(help="这次采用在任一件来稿上的记录号")],
    actor: Actor,
    reason: Reason,
) -> None:
    """记错的一次采用，从各件来稿上一并撤销。"""
    with _bulletins() as bulletins:
        undone = bulletins.retract(number, event, actor, reason)
    print_json({"id": number, "applied": list(undone)})


@bulletins_app.command("docx")
def docx(number: BulletinNumber, out: Annotated[Path, typer.Option(help="输出文件")]) -> None:
    """按社情民意信息的样式写成 DOCX；个人信息已遮盖。"""
    from service.papers import bulletin_docx  # noqa: PLC0415  (loads python-docx)

    with _bulletins() as bulletins:
        found = bulletins.get(number)
        content = bulletin_docx(found, bulletins.materials(found))
    out.write_bytes(content)


@results_app.command("report")
def report(
    from_: From_,
    to: Until,
    as_of: AsOf = None,
    term: Term = None,
    format: Annotated[Literal["json", "xlsx", "docx"], typer.Option("--format", help="输出格式")] = "json",
    out: Out = None,
) -> None:
    """采用通报：件数、采用与得分，按单位、委员、专委会、界别排名。"""
    from service import papers, render_results  # noqa: PLC0415  (loads python-docx)

    found = _results(from_, to, as_of, term, format, out)
    makers = {"xlsx": papers.report_xlsx, "docx": papers.report_docx}
    _write(found, render_results.report, makers.get(format), out)


@results_app.command("members")
def members(
    from_: From_,
    to: Until,
    as_of: AsOf = None,
    term: Term = None,
    format: Annotated[Literal["json", "xlsx"], typer.Option("--format", help="输出格式")] = "json",
    out: Out = None,
) -> None:
    """履职：名册中每一个的件数与得分，每一笔指明是哪条记录。"""
    from service import papers, render_results  # noqa: PLC0415  (loads python-docx)

    found = _results(from_, to, as_of, term, format, out)
    _write(found, render_results.members, papers.members_xlsx if format == "xlsx" else None, out)


def _results(from_: str, to: str, as_of: str | None, term: str | None, format: str, out: Path | None) -> Any:
    from service.points import PointsTable  # noqa: PLC0415
    from service.results import read_scope, results  # noqa: PLC0415

    if format != "json" and out is None:
        raise MinshengError(f"{format} 不能写到标准输出，请用 --out 给出文件")
    settings = read_settings()
    with open_store(settings) as store:
        table = PointsTable(settings.corpora / "points" / "points.tsv")
        return results(store, table, read_scope(store, from_, to, as_of, term))


def _write(found: Any, plain: Any, maker: Any, out: Path | None) -> None:
    """As a file of the format, or as a line of JSON, to ``out`` or standard output."""
    if maker is not None and out is not None:
        out.write_bytes(maker(found))
    elif out is not None:
        out.write_text(json.dumps(plain(found), ensure_ascii=False) + "\n", encoding="utf-8")
    else:
        print_json(plain(found))


def install(app: typer.Typer) -> None:
    """Add the commands to ``minsheng``."""
    app.add_typer(roster_app, name="roster")
    app.add_typer(bulletins_app, name="bulletins")
    app.add_typer(results_app, name="results")
