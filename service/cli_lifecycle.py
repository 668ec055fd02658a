"""The commands that follow a submission: ``list``, ``events``, ``step`` and ``corrections``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from nlp.errors import InputError
from nlp.taxonomy import load_taxonomy
from nlp.units import load_units
from service.cli_cases import Actor, Format, Reason
from service.cli_models import open_store, print_json, read_settings

corrections_app = typer.Typer(no_args_is_help=True, help="人工更正：导出为训练数据。")
Number = Annotated[int, typer.Argument(help="材料编号")]
_PAGE = 200


@contextmanager
def _lifecycle() -> Iterator[Any]:
    from service.lifecycle import Lifecycle, load_rules  # noqa: PLC0415  (loads the database's libraries)

    settings = read_settings()
    with open_store(settings) as store:
        taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
        units = load_units(settings.corpora / "units", taxonomy.matter_by_id.keys())
        yield Lifecycle(store, load_rules(settings), units)


def list_(
    state: Annotated[str | None, typer.Option(help="只要这个状态，如 已转办")] = None,
    due: Annotated[str | None, typer.Option(help="soon 临期，over 超期")] = None,
    unit: Annotated[str | None, typer.Option(help="只要这个主办单位")] = None,
    theme: Annotated[str | None, typer.Option(help="只要这个主题")] = None,
    source: Annotated[str | None, typer.Option(help="只要这个来源")] = None,
    format: Format = "text",
) -> None:
    """列出材料与办理情况；个人信息已遮盖。"""
    from service import render  # noqa: PLC0415  (loads the models' libraries)
    from service.steps import STATES  # noqa: PLC0415

    for name, value, known in (("--state", state, STATES), ("--due", due, ("soon", "over"))):
        if value is not None and value not in known:
            raise InputError("invalid_value", name, f"{value!r} 无效，应为 {'、'.join(known)} 之一")
    with _lifecycle() as lifecycle:
        if told := lifecycle.rules.calendar.advice(lifecycle.today()):
            typer.echo(told, err=True)
        where = lifecycle.conditions(state=state, unit=unit, due=due)
        after = 0
        while page := lifecycle.store.page(after=after, limit=_PAGE, theme=theme, source=source, where=where):
            standings = lifecycle.standing([item.id for item in page])
            for item in page:
                row, standing = render.stored(item), standings[item.id]
                if format == "json":
                    print_json({**row, "standing": render.standing(standing)})
                else:
                    told = (standing.number or "未登记", standing.state, standing.due or "—", standing.lead_unit or "—")
                    typer.echo("  ".join((str(item.id), *told, row["external_id"], row["title"])))
            after = page[-1].id


def events(number: Number, format: Format = "text") -> None:
    """一件材料的经过：何时、谁、做了什么、为什么。"""
    from nlp.taxonomy import load_taxonomy  # noqa: PLC0415
    from service.timeline import names_of, timeline  # noqa: PLC0415

    names = names_of(load_taxonomy(read_settings().corpora / "taxonomy" / "taxonomy.toml"))
    with _lifecycle() as lifecycle:
        told = timeline(lifecycle.events(number), names)
    for entry in told:
        if format == "json":
            print_json(entry)
        else:
            reason = f"（{entry['reason']}）" if entry["reason"] else ""
            typer.echo(f"{entry['at']}  {entry['actor']}  {entry['what']}{reason}")


def step(
    number: Number,
    kind: Annotated[str, typer.Argument(help="哪一步，如 routed、signed、answered、closed")],
    actor: Actor,
    reason: Reason,
    members: Annotated[bool, typer.Option("--members", help="这件是并案的主件时，各件一并办理")] = False,
    unit: Annotated[str | None, typer.Option(help="主办单位")] = None,
    support: Annotated[list[str] | None, typer.Option(help="协办单位，可多次给出")] = None,
    part: Annotated[list[str] | None, typer.Option(help="分办：事项=单位，可多次给出")] = None,
    category: Annotated[str | None, typer.Option(help="诉求类型")] = None,
    days: Annotated[int | None, typer.Option(help="办理时限（工作日）")] = None,
    override: Annotated[str | None, typer.Option(help="仍派回退过单的单位的理由")] = None,
    reviewer: Annotated[str | None, typer.Option(help="审核人")] = None,
    due: Annotated[str | None, typer.Option(help="延期到哪一天")] = None,
    approved_by: Annotated[str | None, typer.Option(help="批准延期的人")] = None,
    reply: Annotated[str | None, typer.Option(help="答复全文")] = None,
    result: Annotated[str | None, typer.Option(help="办理结果")] = None,
    rating: Annotated[str | None, typer.Option(help="满意度")] = None,
    level: Annotated[str | None, typer.Option(help="采用或批示的层级")] = None,
    form: Annotated[str | None, typer.Option(help="单篇、综合或转送")] = None,
    issue: Annotated[str | None, typer.Option(help="期号")] = None,
    note: Annotated[str | None, typer.Option(help="备注")] = None,
    happened_on: Annotated[str | None, typer.Option("--on", help="采用、批示、采纳是哪一天，不给则为今天")] = None,
    event: Annotated[int | None, typer.Option(help="撤销记录：要撤销的记录的号码，见 events --format json")] = None,
    person: Annotated[list[int] | None, typer.Option(help="认定反映人：名册中的编号，可多次给出")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="认定反映人：不是名册中的人")] = False,
) -> None:
    """办理一步：登记、转办、签收、答复、办结等；不能走的一步说明可以走哪些。"""
    given = {
        "unit": unit, "support": support or None, "parts": _parts(part), "category": category, "days": days,
        "override": override, "reviewer": reviewer, "due": due, "approved_by": approved_by, "reply": reply,
        "result": result, "rating": rating, "level": level, "form": form, "issue": issue, "note": note,
        "happened_on": happened_on, "event": event, "persons": [] if nobody else person or None,
    }  # fmt: skip
    from service import render  # noqa: PLC0415  (loads the models' libraries)

    with _lifecycle() as lifecycle:
        applied = lifecycle.step(number, kind, actor, reason, given, members=members)
        standing = render.standing(lifecycle.standing([number])[number])
    print_json({"id": number, "applied": list(applied), "standing": standing})


def _parts(given: list[str] | None) -> list[dict[str, str]] | None:
    if not given:
        return None
    pairs = [one.partition("=") for one in given]
    return [{"matter": matter, "unit": unit} for matter, _, unit in pairs]


@corrections_app.command("export")
def export_corrections() -> None:
    """导出人工判定过的材料及其主题、细类、单位（JSON Lines）；个人信息已遮盖。"""
    from service import render  # noqa: PLC0415  (loads the models' libraries)

    with _lifecycle() as lifecycle:
        after = 0
        while found := lifecycle.corrections(after=after, limit=_PAGE):
            items = {item.id: item for item in lifecycle.store.get_many([one.number for one in found])}
            for one in found:
                print_json(render.correction(items[one.number], one))
            after = found[-1].number


@corrections_app.callback()
def _corrections() -> None:
    """A group, though it has one command yet."""


def install(app: typer.Typer) -> None:
    """Add the commands to ``minsheng``."""
    app.command("list")(list_)
    app.command("events")(events)
    app.command("step")(step)
    app.add_typer(corrections_app, name="corrections")
