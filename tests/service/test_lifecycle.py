"""Steps over a store, without models; the clock stands on Monday 2 March 2026, 10:00 in China, unless moved."""

from __future__ import annotations

import multiprocessing
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from nlp.units import Unit, Units
from service import replies
from service.cases import Cases, Conflict, NotFound
from service.lifecycle import Lifecycle, Rules, Stale, StepRefused, load_rules
from service.reanalysis import prepare, switch
from service.replies import Reply
from service.settings import ROOT, Settings
from service.steps import IDLE, OUTCOMES, STATES, STEPS, Event, Standing, fold, follow, possible
from service.store import Analysis, Store, Submission, Submitter
from service.tables import events, standings, submissions
from service.timeline import names_of, timeline
from service.workdays import CalendarEnds, load_calendar
from tests.service.test_store import ENCODER, analysis

CALENDAR = load_calendar(ROOT / "corpora" / "calendar")
RULES = Rules(CALENDAR, {"咨询": 5, "投诉": 15})
UNIT_NAMES = {"zf": "云岩区综合行政执法局", "sw": "市水务局", "zj": "市住建局"}
UNITS = Units(
    tuple(Unit(i, name, (), "city", "", "", "", date(2024, 1, 1), None, "") for i, name in UNIT_NAMES.items()), ()
)
WHO = ("王芳", "属其职责")
# A value for each field a step needs.
FIELDS: dict[str, Any] = {
    "unit": "zf", "parts": [{"matter": "油烟", "unit": "zf"}, {"matter": "路灯", "unit": "zj"}], "due": "2026-12-01",
    "approved_by": "李局", "reply": "已派人修复。", "result": "已解决", "rating": "满意", "level": "省", "note": "存查",
    "event": 1, "persons": [],
}  # fmt: skip


def at(moment: str) -> Callable[[], str]:
    return lambda: datetime.fromisoformat(moment).isoformat(timespec="seconds")


def fill(store: Store, count: int = 1) -> None:
    start = store.count()
    rows = [(Submission("12345", f"WO-{start + i}", "路灯坏了"), analysis("urban")) for i in range(count)]
    store.add(rows, ENCODER, "import")


def reanalyse(store: Store, number: int, answer: Analysis) -> None:
    prepare(store, [(item, answer) for item in store.get_many([number])], ENCODER)
    switch(store, ENCODER)


@pytest.fixture
def life(store: Store) -> Lifecycle:
    store.now = at("2026-03-02T02:00:00+00:00")
    fill(store, 3)
    return Lifecycle(store, RULES, UNITS)


def take(life: Lifecycle, *kinds: str, number: int = 1, **given: Any) -> Standing:
    for kind in kinds:
        needed = {name: FIELDS[name] for name in STEPS[kind].needs}
        own = {name: value for name, value in given.items() if name in (*STEPS[kind].needs, *STEPS[kind].may)}
        life.step(number, kind, *WHO, {**needed, **own})
    return life.standing([number])[number]


def agree(life: Lifecycle) -> None:
    """The table is what the events say, for every submission."""
    numbers = [item.id for item in life.store.everything()]
    assert life.standing(numbers) == {number: fold(life.events(number)) for number in numbers}


# The table of steps


def test_the_table_is_closed() -> None:
    for kind, step in STEPS.items():
        assert set(step.moves) <= set(STATES), kind
        assert set(step.moves.values()) <= {*STATES, "撤回前"}, kind
        if kind in IDLE:
            assert all(state == after for state, after in step.moves.items()), kind
    reached = {after for step in STEPS.values() for after in step.moves.values()}
    assert {*STATES, "撤回前"} == reached


def test_every_state_but_the_erased_can_be_left() -> None:
    for state in STATES:
        left = [kind for kind in possible(Standing(state=state)) if STEPS[kind].moves[state] != state]
        assert bool(left) is (state != "已删除"), state


def test_an_event_that_is_unknown_or_out_of_place_changes_nothing() -> None:
    assert follow(Standing(), Event(1, "opened", "王芳", "2026-03-02T02:00:00+00:00", {})) == Standing()
    assert follow(Standing(), Event(1, "signed", "王芳", "2026-03-02T02:00:00+00:00", {})) == Standing()


def test_the_guide_has_the_same_table() -> None:
    guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").partition("\n## 办理\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in guide.splitlines() if line[:3] == "| `"]
    by_hand = {kind: step for kind, step in STEPS.items() if step.by_hand}
    assert [row[0].strip("`") for row in rows if row[0] != "`kind`"] == list(by_hand)
    for kind, name, moves, needs, may in (row for row in rows if row[0] != "`kind`"):
        step = by_hand[kind.strip("`")]
        assert step.name in name
        assert tuple(re.findall(r"`([a-z_]+)`", needs)) == step.needs, kind
        assert tuple(re.findall(r"`([a-z_]+)`", may)) == step.may, kind
        told = set(re.findall("|".join(STATES), moves))
        if told and not re.search("除|同|任何", moves):
            assert told == {*step.moves, *step.moves.values()} - {"撤回前"}, kind


# The way of a submission


@pytest.mark.both_engines
def test_from_registration_to_the_archive(life: Lifecycle) -> None:
    assert life.standing([1, 99]) == {1: Standing()}
    standing = take(life, "registered")
    assert (standing.state, standing.number, standing.handler) == ("待审核", "2026-000001", "王芳")
    standing = take(life, "routed", support=["sw"], category="咨询", reviewer="赵科")
    assert (standing.state, standing.lead_unit, standing.support_units) == (
        "已转办",
        "云岩区综合行政执法局",
        ("市水务局",),
    )
    assert (standing.category, standing.due, standing.routed_at) == ("咨询", "2026-03-09", "2026-03-02T02:00:00+00:00")
    assert standing.reviewer == "赵科"
    assert take(life, "signed").state == "办理中"
    assert take(life, "urged", "extended", due="2026-03-20").due == "2026-03-20"
    assert take(life, "answered").replied_at == "2026-03-02T02:00:00+00:00"
    assert take(life, "closed").result == "已解决"
    assert take(life, "rated", rating="不满意").satisfaction == "不满意"
    assert take(life, "visited", rating="基本满意").satisfaction == "基本满意"
    standing = take(life, "adopted", form="单篇", issue="第12期")
    assert standing.adoption == "省 单篇 第12期"
    assert take(life, "adopted", level="全国").adoption == "省 单篇 第12期；全国"
    assert take(life, "instructed", level="市委主要领导").instruction == "市委主要领导"
    assert take(life, "implemented").implemented == "2026-03-02T02:00:00+00:00"
    standing = take(life, "noted", "archived")
    assert (standing.state, standing.note, standing.number) == ("已归档", "存查", "2026-000001")
    agree(life)


def test_a_step_registers_what_has_no_number_and_numbers_start_anew_each_year(life: Lifecycle) -> None:
    assert take(life, "kept", category="投诉").number == "2026-000001"
    assert take(life, "returned", number=2).number == "2026-000002"
    life.store.now = at("2025-12-31T16:30:00+00:00")  # already 2026 in China
    assert take(life, "registered", number=3).number == "2026-000003"
    with pytest.raises(StepRefused, match=r"3 号材料已登记过，不能“登记”"):
        take(life, "registered", number=3)
    fill(life.store, 1)
    life.store.now = at("2025-06-02T02:00:00+00:00")
    assert take(life, "registered", number=4).number == "2025-000001"


@pytest.mark.both_engines
def test_a_refused_step_gives_its_number_back(life: Lifecycle) -> None:
    life.store.now = at("2026-12-28T02:00:00+00:00")
    with pytest.raises(CalendarEnds, match="没有 2027 年"):
        take(life, "routed")
    assert life.standing([1]) == {1: Standing()}
    assert [event.kind for event in life.events(1)] == ["received", "analysed"]
    assert take(life, "registered", number=2).number == "2026-000001"


def test_an_illegal_step_names_the_state_and_what_is_possible(life: Lifecycle) -> None:
    take(life, "routed")
    with pytest.raises(StepRefused) as caught:
        take(life, "closed")
    assert caught.value.state == "已转办"
    assert caught.value.possible == possible(life.standing([1])[1])
    assert "1 号材料现为“已转办”，不能“办结”；可以：" in str(caught.value)
    assert "签收 signed" in str(caught.value)


def test_the_unit_sends_it_back_and_another_gets_it(life: Lifecycle) -> None:
    take(life, "routed", "signed")
    standing = take(life, "returned")
    assert (standing.state, standing.lead_unit, standing.due) == ("待审核", None, None)
    assert standing.returned_by == ("云岩区综合行政执法局",)
    with pytest.raises(Conflict, match=r"unit：1 号材料曾被云岩区综合行政执法局退单，不再派回"):
        take(life, "routed")
    with pytest.raises(Conflict, match="parts：1 号材料曾被云岩区综合行政执法局退单"):
        take(life, "split")
    assert take(life, "routed", unit="市水务局").lead_unit == "市水务局"
    assert take(life, "returned").returned_by == ("云岩区综合行政执法局", "市水务局")
    assert take(life, "routed", override="编办已明确").lead_unit == "云岩区综合行政执法局"
    assert "曾退单仍派回：编办已明确" in timeline(life.events(1), {})[-1]["what"]
    agree(life)


def test_what_the_office_answers_itself_has_no_unit_to_return_or_urge_it(life: Lifecycle) -> None:
    standing = take(life, "answered")
    assert not {"returned", "urged", "extended"} & set(possible(standing))
    with pytest.raises(StepRefused, match="现为“办理中”（未转办），不能“催办”"):
        take(life, "urged")
    assert take(life, "reopened").state == "待审核"
    assert "returned" in possible(life.standing([1])[1])


def test_returning_to_the_submitter_is_not_returning_by_the_unit(life: Lifecycle) -> None:
    standing = take(life, "returned")
    assert (standing.state, standing.returned_by) == ("已退回", ())
    [(_, outcome)] = life.store.add(
        [(Submission("12345", "WO-0", "路灯坏了，在一中门口"), analysis())], ENCODER, "import"
    )
    assert outcome == "revised"
    assert life.standing([1])[1].state == "待审核"  # what was asked for has come
    agree(life)


def test_one_submission_with_two_matters_goes_to_two_units_under_one_number(life: Lifecycle) -> None:
    standing = take(life, "split", days=5)
    assert standing.parts == (("油烟", "云岩区综合行政执法局"), ("路灯", "市住建局"))
    assert (standing.lead_unit, standing.support_units, standing.due) == (
        "云岩区综合行政执法局",
        ("市住建局",),
        "2026-03-09",
    )
    assert take(life, "signed", "answered", "closed").state == "已办结"
    assert life.replies(1) == ["已派人修复。"]


def test_events_hold_no_reply(life: Lifecycle) -> None:
    take(life, "answered", "answered", reply="请到居委会领取")
    assert life.replies(1) == ["请到居委会领取"] * 2
    assert "居委会" not in str(life.store.history(1))


def test_withdrawn_keeps_everything_leaves_counts_and_comes_back_by_an_event(life: Lifecycle) -> None:
    cases = Cases(life.store)
    case = cases.merge(1, [1, 2, 3], *WHO)
    take(life, "routed", "signed", number=2)
    before = life.store.get(2)
    assert take(life, "withdrawn", number=2).state == "已撤回"
    outline = cases.outline(case)
    assert (outline.count, outline.voices, case.members) == (2, 2, (1, 2, 3))
    assert life.store.get(2) == before
    assert possible(life.standing([2])[2]) == ("retracted", "credited", "noted", "restored")
    reanalyse(life.store, 2, analysis("ecology"))
    assert life.standing([2])[2].state == "已撤回"
    standing = take(life, "restored", number=2)
    assert (standing.state, standing.lead_unit) == ("办理中", "云岩区综合行政执法局")
    assert cases.outline(case).count == 3


@pytest.mark.both_engines
def test_one_answer_answers_all_members_of_a_case(life: Lifecycle) -> None:
    Cases(life.store).merge(2, [1, 2, 3], *WHO)
    assert life.step(2, "routed", *WHO, {"unit": "zf"}, members=True) == (2, 1, 3)
    assert life.step(2, "answered", *WHO, {"reply": "路灯已修"}, members=True) == (2, 1, 3)
    assert {n: (s.state, s.number) for n, s in life.standing([1, 2, 3]).items()} == {
        2: ("办理中", "2026-000001"), 1: ("办理中", "2026-000002"), 3: ("办理中", "2026-000003")
    }  # fmt: skip
    assert [life.replies(n) for n in (1, 2, 3)] == [["路灯已修"]] * 3
    assert [life.events(n)[-1].kind for n in (1, 2, 3)] == ["answered"] * 3
    take(life, "closed", number=3)
    before = life.store.stamp()
    with pytest.raises(StepRefused, match="3 号材料现为“已办结”"):
        life.step(2, "answered", *WHO, {"reply": "又"}, members=True)
    assert life.store.stamp() == before
    assert life.replies(2) == ["路灯已修"]
    life.step(1, "withdrawn", *WHO)
    life.step(3, "reopened", *WHO)
    assert life.step(2, "answered", *WHO, {"reply": "又"}, members=True) == (2, 3)
    with pytest.raises(Conflict, match="members：1 号材料不是有效并案的主件"):
        life.step(1, "restored", *WHO, members=True)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("vanished", {}, "kind：没有 'vanished' 这一步，应为 registered"),
        ("corrected", {}, "kind：没有 'corrected' 这一步"),
        ("routed", {}, "unit：“转办”需要这个字段"),
        ("answered", {}, "reply：“答复”需要这个字段"),
        ("rated", {}, "rating：“评价”需要这个字段"),
        ("closed", {}, "result：“办结”需要这个字段"),
        ("extended", {"due": "2026-10-01"}, "approved_by：“延期”需要这个字段"),
        ("signed", {"unit": "zf"}, "unit：“签收”没有这个字段，可用：无"),
        ("rated", {"rating": "还行"}, "rating：'还行' 无效，应为 满意、基本满意、不满意 之一"),
        ("adopted", {"level": "村"}, "level：'村' 无效，应为 全国、省、市、区（市、县） 之一"),
        ("routed", {"unit": "火星局"}, "unit：单位表中没有“火星局”"),
        ("routed", {"unit": " "}, "unit：内容为空"),
        ("routed", {"unit": "zf", "support": "sw"}, "support：应为列表，实为 str"),
        ("routed", {"unit": "zf", "support": ["sw"] * 21}, "support：至多 20 项，实有 21 项"),
        ("routed", {"unit": "zf", "support": ["sw", "市水务局"]}, "support：'市水务局' 重复"),
        ("routed", {"unit": "zf", "support": ["zf"]}, "support：云岩区综合行政执法局已是主办"),
        ("routed", {"unit": "zf", "days": 0}, "days：应为 1 至 250 的整数（工作日），实为 '0'"),
        ("routed", {"unit": "zf", "days": True}, "days：应为 1 至 250 的整数"),
        ("routed", {"unit": "zf", "category": "吐槽"}, "category：'吐槽' 无效，应为 咨询、投诉 之一"),
        ("split", {"parts": [{"matter": "油烟", "unit": "zf"}]}, "parts：分办至少要两件事，实有 1 件"),
        ("split", {"parts": [{"matter": "油烟"}, "x"]}, 'parts：每件事应为 {"matter","unit"}'),
        ("split", {"parts": [{"matter": "油烟", "unit": "zf"}] * 2}, "parts：'油烟' 重复"),
        ("extended", {"due": "明天", "approved_by": "李局"}, "due：日期应如 2026-10-01，实为 '明天'"),
        ("extended", {"due": "2026-03-01", "approved_by": "李局"}, "due：应晚于现在的时限 2026-03-23，实为 2026-03-01"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named_and_nothing_happens(
    life: Lifecycle, kind: str, given: dict[str, Any], message: str
) -> None:
    if kind == "extended":
        take(life, "routed")
    before = life.store.stamp()
    with pytest.raises(InputError) as caught:
        life.step(1, kind, *WHO, given)
    assert str(caught.value).startswith(message)
    assert life.store.stamp() == before


def test_who_and_why_are_always_asked(life: Lifecycle) -> None:
    with pytest.raises(InputError, match="actor：内容为空"):
        life.step(1, "kept", " ", "理由")
    with pytest.raises(InputError, match="reason：内容为空"):
        life.correct(1, "王芳", "", Taxonomy("1", (), ()), unit="zf")
    with pytest.raises(NotFound, match="没有编号为 99 的材料"):
        life.step(99, "kept", *WHO)
    with pytest.raises(NotFound, match="没有编号为 4294967296 的材料"):
        life.events(2**32)


def test_a_stale_caller_is_told(life: Lifecycle) -> None:
    seen = frozenset({life.version(1)})
    life.step(1, "registered", *WHO, expected=seen)
    with pytest.raises(Stale, match="1 号材料已有新的变动"):
        life.step(1, "kept", *WHO, expected=seen)
    assert life.standing([1])[1].state == "待审核"


@pytest.mark.both_engines
def test_due_soon_and_overdue(life: Lifecycle) -> None:
    for number, days in ((1, 1), (2, 3), (3, 4)):
        take(life, "routed", number=number, days=days)

    def due(kind: Any, **more: Any) -> list[int]:
        return [item.id for item in life.store.page(where=life.conditions(due=kind, **more))]

    assert (due("soon"), due("over")) == ([1, 2], [])  # due on 3, 5 and 6 March
    life.store.now = at("2026-03-03T15:59:00+00:00")
    assert (due("soon"), due("over")) == ([1, 2, 3], [])
    life.store.now = at("2026-03-03T16:00:00+00:00")  # midnight in China
    assert (due("soon"), due("over")) == ([2, 3], [1])
    assert due("over", unit="市水务局") == []
    take(life, "answered", "closed")
    assert due("over") == []
    assert due(None, state="已办结") == [1]
    assert due(None, state="待审核") == []
    fill(life.store)
    assert due(None, state="待审核") == [4]


def test_where_the_calendar_ends_what_is_due_is_still_told(life: Lifecycle) -> None:
    life.store.now = at("2026-12-28T02:00:00+00:00")
    take(life, "routed", number=1, days=3)
    take(life, "routed", number=2, days=1)
    take(life, "extended", number=2, due="2027-01-15")  # decided by people, so nothing is counted

    def due(day: str) -> list[list[int]]:
        life.store.now = at(f"{day}T02:00:00+00:00")
        return [[item.id for item in life.store.page(where=life.conditions(due=kind))] for kind in ("soon", "over")]

    assert due("2026-12-30") == [[1], []]
    assert due("2027-01-11") == [[], [1]]
    assert due("2027-01-12") == [[2], [1]]
    assert due("2027-01-16") == [[], [1, 2]]


# Corrections


@pytest.mark.both_engines
def test_people_outrank_every_later_analysis(life: Lifecycle, taxonomy: Taxonomy) -> None:
    life.correct(1, "李雷", "是油烟，不是路灯", taxonomy, matter="fumes_odour")
    reanalyse(life.store, 1, analysis("urban"))
    found = life.store.get(1)
    assert found is not None
    assert (found.theme, found.matter) == ("ecology", "fumes_odour")
    assert [item.id for item in life.store.page(theme="ecology")] == [1]
    assert [item.id for item in life.store.page(theme="urban")] == [2, 3]
    [told] = life.corrections()
    assert (told.number, told.theme, told.matter, told.unit) == (1, "ecology", "fumes_odour", None)
    assert (told.actor, told.reason) == ("李雷", "是油烟，不是路灯")
    what = [entry["what"] for entry in timeline(life.events(1), names_of(taxonomy))]
    assert what[2].startswith("更正：主题由强城镇改为强生态，细类由")
    agree(life)


def test_a_theme_alone_leaves_no_matter_of_another_theme(life: Lifecycle, taxonomy: Taxonomy) -> None:
    life.correct(1, *WHO, taxonomy, theme="ecology")
    assert (life.standing([1])[1].theme, life.standing([1])[1].matter) == ("ecology", "")
    life.correct(1, *WHO, taxonomy, theme="urban")
    life.correct(2, *WHO, taxonomy, theme="urban")
    assert life.standing([2])[2].matter == "roads_municipal"  # the machine's fits
    assert [(one.number, one.matter) for one in life.corrections()] == [(1, None), (2, "roads_municipal")]
    assert [one.number for one in life.corrections(after=1)] == [2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "theme：theme、matter、unit 至少给出一个"),
        ({"theme": "nonsense"}, "theme：分类体系中没有 'nonsense'"),
        ({"matter": "nonsense"}, "matter：分类体系中没有 'nonsense'"),
        ({"matter": "fumes_odour", "theme": "urban"}, "theme：细类 fumes_odour 属于 ecology，与 'urban' 不符"),
        ({"unit": "火星局"}, "unit：单位表中没有“火星局”"),
    ],
)
def test_a_wrong_correction_is_named(life: Lifecycle, taxonomy: Taxonomy, given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        life.correct(1, *WHO, taxonomy, **given)
    assert str(caught.value) == message
    assert life.corrections() == []


def test_a_corrected_unit_is_routed_again_in_one_step(life: Lifecycle, taxonomy: Taxonomy) -> None:
    life.correct(1, *WHO, taxonomy, unit="sw")
    assert (life.standing([1])[1].state, life.standing([1])[1].unit) == ("待审核", "市水务局")  # nothing routed yet
    take(life, "routed")
    life.correct(1, *WHO, taxonomy, unit="sw")
    standing = life.standing([1])[1]
    assert (standing.state, standing.lead_unit) == ("已转办", "市水务局")
    take(life, "returned")
    take(life, "routed")
    before = life.store.stamp()
    with pytest.raises(Conflict, match="曾被市水务局退单"):
        life.correct(1, *WHO, taxonomy, unit="sw")
    assert life.store.stamp() == before
    life.correct(1, *WHO, taxonomy, unit="sw", override="已商定")
    assert life.standing([1])[1].lead_unit == "市水务局"
    life.step(1, "withdrawn", *WHO)
    with pytest.raises(StepRefused, match="现为“已撤回”，不能“更正”"):
        life.correct(1, *WHO, taxonomy, unit="zf")
    agree(life)


# Rules, timeline, rebuilding


def test_rules_come_from_settings_and_data(settings: Settings) -> None:
    rules = load_rules(settings.model_copy(update={"ratings": "好, 中 ,差,", "limit_days": 7, "soon_days": 1}))
    assert (rules.ratings, rules.limit, rules.soon, rules.limits["咨询"]) == (("好", "中", "差"), 7, 1, 5)
    assert rules.calendar == CALENDAR


def test_without_a_calendar_nothing_is_routed_but_the_rest_works(store: Store) -> None:
    fill(store)
    life = Lifecycle(store)
    with pytest.raises(CalendarEnds):
        life.step(1, "routed", *WHO, {"unit": "任何单位"})
    life.step(1, "kept", *WHO)
    assert life.standing([1])[1].state == "留存"


def test_the_timeline_reads_like_a_record(life: Lifecycle) -> None:
    Cases(life.store).merge(1, [1, 2], *WHO)
    take(life, "routed", support=["sw"])
    life.step(1, "noted", "王芳", "回电 13812345678", {"note": "电话 13812345678"})
    take(life, "extended", "returned")
    Cases(life.store).undo(1, *WHO)
    told = timeline(life.events(1), {})
    assert [f"{one['at']} {one['actor']} {one['what']}" for one in told] == [
        "2026-03-02 10:00 导入 收到（来源：12345）",
        "2026-03-02 10:00 机器 机器分析（model@1）",
        "2026-03-02 10:00 王芳 并入并案 1（主件 1 号）",
        "2026-03-02 10:00 王芳 登记，编号 2026-000001",
        "2026-03-02 10:00 王芳 转办至云岩区综合行政执法局（协办：市水务局），办理时限 15 个工作日，至 2026-03-23",
        "2026-03-02 10:00 王芳 备注：电话 ***********",
        "2026-03-02 10:00 王芳 延期至 2026-12-01（李局批准）",
        "2026-03-02 10:00 王芳 云岩区综合行政执法局退单",
        "2026-03-02 10:00 王芳 并案 1 撤销",
    ]
    assert (told[4]["reason"], told[5]["reason"], told[0]["reason"]) == ("属其职责", "回电 ***********", "")


def test_every_step_has_words(life: Lifecycle, taxonomy: Taxonomy) -> None:
    take(life, "split", "signed", "urged", "answered", "closed", "rated", "visited", "adopted", "instructed",
         "implemented", "archived", "reopened", "reopened", "withdrawn", "restored")  # fmt: skip
    words = [entry["what"] for entry in timeline(life.events(1), names_of(taxonomy))]
    assert words[2:] == [
        "登记，编号 2026-000001", "分办：油烟 → 云岩区综合行政执法局；路灯 → 市住建局，办理时限 15 个工作日，至 2026-03-23",
        "签收", "催办", "答复", "办结：已解决", "评价：满意", "回访", "采用：省", "批示：省", "采纳落实", "归档", "重办", "重办",
        "反映人撤回", "恢复",
    ]  # fmt: skip
    other = [Event(1, kind, "t", "2026-03-02T02:00:00+00:00", detail) for kind, detail in (
        ("follows", {"earlier": 3, "reason": "x"}), ("unfollowed", {"earlier": 3}), ("revised", {"fields": ["title"]}),
        ("revised", {"before": "a", "after": "b"}), ("unmerged", {"case": 2, "whole": False}), ("erased", {}),
        ("exported", {}), ("replied", {"replied_at": "2026-03-01T16:30:00+00:00"}), ("replied", {"replied_at": None}),
    )]  # fmt: skip
    assert [entry["what"] for entry in timeline(other, {})] == [
        "登记为 3 号的续报", "解除与 3 号的续报关系", "修改标题", "来源内容有变，已更新", "撤出并案 2", "删除", "exported",
        "来源已答复（2026-03-02）", "来源已答复（日期不详）",
    ]  # fmt: skip


@pytest.mark.both_engines
def test_rebuilding_restores_what_was_lost(life: Lifecycle) -> None:
    take(life, "routed", "signed")
    take(life, "kept", number=2)
    before = life.standing([1, 2, 3])
    with life.store.writing() as connection:
        connection.execute(standings.delete())
    assert life.standing([1])[1] == Standing()
    assert life.rebuild() == 2
    assert life.standing([1, 2, 3]) == before


@pytest.mark.both_engines
def test_offices_have_their_own_numbers(life: Lifecycle) -> None:
    other = Store(life.store.url, "other")
    other.now = life.store.now
    fill(other)
    take(life, "registered")
    assert take(Lifecycle(other, RULES), "registered").number == "2026-000001"
    assert life.rebuild() == 1
    assert Lifecycle(other).standing([1])[1].number == "2026-000001"
    other.close()


def test_a_database_from_before_opens_and_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"  # no version before 0004 served PostgreSQL
    config = Config()
    config.set_main_option("script_location", str(ROOT / "service" / "migrations"))
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        row = {"source": "12345", "external_id": "WO-0", "title": "", "text": "路灯坏了", "content_sha256": "x"}
        key = {"office_id": "default", "id": 1, "stored_at": "2026-01-05T02:00:00+00:00"}
        connection.execute(submissions.insert().values(**row, **key))
        event = {"id": 1, "submission_id": 1, "kind": "received", "actor": "import", "detail": '{"source": "12345"}'}
        connection.execute(events.insert().values(**event, office_id="default", at=key["stored_at"]))
    opened = Store(url, "default")
    life = Lifecycle(opened, RULES)
    assert life.standing([1]) == {1: Standing()}
    assert [item.id for item in opened.page(where=life.conditions(state="待审核"))] == [1]
    life.step(1, "kept", *WHO)
    assert [event.kind for event in life.events(1)] == ["received", "registered", "kept"]
    opened.close()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        assert not {"standings", "registers", "replies"} & set(sa.inspect(connection).get_table_names())
    engine.dispose()


def _register(url: str, first: int) -> None:
    own = Store(url, "default")
    own.now = at("2026-03-02T02:00:00+00:00")
    for number in range(first, 41, 2):
        Lifecycle(own).step(number, "registered", "t", "t")
    own.close()


def test_two_processes_leave_no_gap_and_no_double_number(store: Store) -> None:
    fill(store, 40)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_register, args=(store.url, first)) for first in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    numbers = [standing.number for standing in Lifecycle(store).standing(range(1, 41)).values()]
    assert sorted(map(str, numbers)) == [f"2026-{n:06d}" for n in range(1, 41)]


# What came of it, and what was wrongly recorded


@pytest.mark.both_engines
def test_what_was_wrongly_recorded_is_taken_back_by_an_event(life: Lifecycle) -> None:
    take(life, "adopted", form="单篇", issue="第12期；增刊")
    wrong = life.events(1)[-1].id
    take(life, "adopted", level="全国", happened_on="2026-02-27")
    assert life.standing([1])[1].adoption == "省 单篇 第12期；增刊；全国"
    life.step(1, "retracted", *WHO, {"event": wrong})
    assert life.standing([1])[1].adoption == "全国"
    take(life, "adopted", level="市")
    assert life.standing([1])[1].adoption == "全国；市"
    for kind, field in (("instructed", "instruction"), ("implemented", "implemented")):
        take(life, kind)
        assert getattr(life.standing([1])[1], field)
        life.step(1, "retracted", *WHO, {"event": life.events(1)[-1].id})
        assert getattr(life.standing([1])[1], field) is None
    told = [line["what"] for line in timeline(life.events(1), {})]
    assert f"撤销 {wrong} 号记录（采用）" in told
    assert "采用：全国（2026-02-27）" in told
    agree(life)


def test_only_a_record_that_stands_is_taken_back(life: Lifecycle) -> None:
    take(life, "adopted")
    done = life.events(1)[-1].id
    with pytest.raises(InputError, match=f"event：2 号材料没有 {done} 号的采用、批示、采纳落实记录"):
        life.step(2, "retracted", *WHO, {"event": done})
    with pytest.raises(InputError, match="event：应为编号（正整数），实为 '0'"):
        life.step(1, "retracted", *WHO, {"event": 0})
    life.step(1, "retracted", *WHO, {"event": done})
    with pytest.raises(Conflict, match=f"event：{done} 号记录已经撤销"):
        life.step(1, "retracted", *WHO, {"event": done})


def test_nothing_is_recorded_before_it_happens(life: Lifecycle) -> None:
    with pytest.raises(InputError, match="happened_on：2026-03-03 还没有到，今天是 2026-03-02"):
        life.step(1, "implemented", *WHO, {"happened_on": "2026-03-03"})
    with pytest.raises(InputError, match="happened_on：日期应如"):
        life.step(1, "implemented", *WHO, {"happened_on": "昨天"})


def test_deciding_whose_it_is_registers_nothing(life: Lifecycle) -> None:
    life.step(1, "credited", *WHO, {"persons": []})
    assert life.standing([1])[1] == Standing()
    assert timeline(life.events(1), {})[-1]["what"] == "认定反映人：不是名册中的人"
    with pytest.raises(InputError, match="persons：名册中没有 3、9 号"):
        life.step(1, "credited", *WHO, {"persons": [9, 3]})
    with pytest.raises(InputError, match="persons：'3' 重复"):
        life.step(1, "credited", *WHO, {"persons": [3, 3]})


# Any sequence of steps

ACTIONS = st.tuples(
    st.sampled_from([*(kind for kind, step in STEPS.items() if step.by_hand), "correct", "reanalyse", "import"]),
    st.integers(1, 3), st.booleans(), st.sampled_from(sorted(UNIT_NAMES)), st.integers(1, 30),
)  # fmt: skip


def _act(life: Lifecycle, taxonomy: Taxonomy, action: tuple[str, int, bool, str, int]) -> None:
    kind, number, members, unit, days = action
    if kind == "correct":
        life.correct(number, *WHO, taxonomy, matter=["fumes_odour", "education"][days % 2], unit=unit)
    elif kind == "reanalyse":
        reanalyse(life.store, number, analysis("ecology", days))
    elif kind == "import":
        changed = Submission("12345", f"WO-{number - 1}", f"路灯坏了{days}", submitter=Submitter(name="张三"))
        reply = [Reply(f"已修{days}") if members else None]

        def settle(connection: sa.Connection, done: Any) -> None:
            replies.take(life.store, connection, done, reply, "import")

        life.store.add([(changed, analysis())], ENCODER, "import", settle)
    else:
        fields = {name: FIELDS[name] for name in STEPS[kind].needs}
        fields |= {"unit": unit} if "unit" in fields else {}
        fields |= {"due": (date(2026, 3, 2) + timedelta(days * 3)).isoformat()} if "due" in fields else {}
        fields |= {"days": days} if "days" in STEPS[kind].may else {}
        outcomes = [event.id for event in life.events(number) if event.kind in OUTCOMES] or [1]
        fields |= {"event": outcomes[days % len(outcomes)]} if kind == "retracted" else {}
        life.step(number, kind, *WHO, fields, members=members)


@given(st.lists(ACTIONS, max_size=25))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_keeps_the_promises(
    store: Store, taxonomy: Taxonomy, actions: list[tuple[str, int, bool, str, int]]
) -> None:
    office = Store(store.url, uuid.uuid4().hex)  # a fresh one without new migrations
    office.now = at("2026-03-02T02:00:00+00:00")
    fill(office, 3)
    Cases(office).merge(1, [1, 2], *WHO)
    life = Lifecycle(office, RULES, UNITS)
    histories: dict[int, list[Event]] = {n: life.events(n) for n in (1, 2, 3)}
    for action in actions:
        before = life.standing([1, 2, 3])
        stamp = office.stamp()
        try:
            _act(life, taxonomy, action)
        except (InputError, Conflict):
            assert office.stamp() == stamp  # refused whole
            assert life.standing([1, 2, 3]) == before
        for number in (1, 2, 3):
            now = life.events(number)
            assert now[: len(histories[number])] == histories[number]  # history only grows
            histories[number] = now
    after = life.standing([1, 2, 3])
    assert after == {number: fold(history) for number, history in histories.items()}
    for history in histories.values():
        standing = Standing()
        for event in history:  # no event stands in a state that does not allow it
            assert standing.state in STEPS[event.kind].moves
            standing = follow(standing, event)
        assert standing.state in STATES
    numbers = sorted(str(standing.number) for standing in after.values() if standing.number)
    assert numbers == [f"2026-{n:06d}" for n in range(1, len(numbers) + 1)]
    assert life.rebuild() == sum(standing != Standing() for standing in after.values())
    assert life.standing([1, 2, 3]) == after
    for number, standing in after.items():  # whatever was done, events lead back to the beginning
        if standing.state == "已撤回":
            take(life, "restored", number=number)
        for _ in range(3):
            if life.standing([number])[number].state != "待审核":
                take(life, "reopened", number=number)
        assert life.standing([number])[number].state == "待审核"
    office.close()


@pytest.mark.both_engines
def test_the_running_number_is_the_databases_own_promise(life: Lifecycle) -> None:
    take(life, "registered")
    row = {"office_id": "default", "submission_id": 2, "state": "待审核", "number": "2026-000001", "standing": "{}"}
    engine = sa.create_engine(life.store.url)
    with pytest.raises(sa.exc.IntegrityError), engine.connect() as connection:
        connection.execute(standings.insert().values(**row))
    engine.dispose()
