"""Bulletins over a store, without models; the clock stands on 2 March 2026, 10:00 in China, unless moved."""

from __future__ import annotations

import io
import multiprocessing
from typing import Any

import pytest
from docx import Document

from nlp.errors import InputError
from service.bulletins import Bulletin, Bulletins, Text, difference, read_text
from service.cases import Conflict, NotFound
from service.lifecycle import Lifecycle, StepRefused
from service.papers import bulletin_docx
from service.steps import fold
from service.store import Store, Submission, Submitter
from tests.service.test_lifecycle import RULES, WHO, at
from tests.service.test_store import ENCODER, analysis

BODY = "青云路多处路灯不亮。\n夜间出行危险！建议尽快修复，电话13812345678。"


@pytest.fixture
def office(store: Store) -> Bulletins:
    """Submissions of a 委员 (1), a unit (2) and a citizen (3)."""
    store.now = at("2026-03-02T02:00:00+00:00")
    people = [Submitter("张三", None, "民建", "经济界", "委员"), Submitter("民革贵阳市委", kind="单位"),
              Submitter("李小红", "13812345678", kind="市民")]  # fmt: skip
    rows = [(Submission("政协", f"A-{i}", "路灯坏了", submitter=one), analysis()) for i, one in enumerate(people, 1)]
    store.add(rows, ENCODER, "import")
    return Bulletins(Lifecycle(store, RULES))


def text(*sources: int, body: str = BODY, to: tuple[str, ...] = ("市委办公厅",)) -> Text:
    return read_text("关于修复路灯的建议", body, to, sources or (1, 2))


def issued(office: Bulletins, *sources: int, series: str = "社情民意信息") -> Bulletin:
    return office.issue(office.create(series, text(*sources), *WHO).id, 1, *WHO)


def kinds(office: Bulletins, number: int) -> list[str]:
    return [event.kind for event in office.lifecycle.events(number)]


def test_every_save_is_a_version_with_who_and_why(office: Bulletins) -> None:
    number = office.create("社情民意信息", text(), *WHO).id
    found = office.save(number, 1, text(1, 2, 3, body=BODY.replace("多处", "三处")), "李雷", "核实了处数")
    assert (found.version, found.state, found.issue, found.text.sources) == (2, "草稿", None, (1, 2, 3))
    assert office.version(number, 1) == text()
    told = [(e["kind"], e["actor"], e["at"], e["detail"]["reason"]) for e in office.history(number)]
    when = "2026-03-02T02:00:00+00:00"
    assert told == [("created", "王芳", when, "属其职责"), ("saved", "李雷", when, "核实了处数")]
    assert "路灯" not in str(office.history(number))
    changes = difference(office.version(number, 1), office.version(number, 2))
    assert [(c.field, c.op, c.text.strip()) for c in changes if c.op != "same"] == [
        ("body", "removed", "青云路多处路灯不亮。"), ("body", "added", "青云路三处路灯不亮。"), ("sources", "added", "3"),
    ]  # fmt: skip
    assert "".join(c.text for c in changes if c.field == "body" and c.op != "added") == BODY


def test_nobody_overwrites_what_he_has_not_seen(office: Bulletins) -> None:
    number = office.create("社情民意信息", text(), *WHO).id
    office.save(number, 1, text(1), *WHO)
    with pytest.raises(Conflict, match="编发 1 已有第 2 版，这次改的是第 1 版"):
        office.save(number, 1, text(2), *WHO)
    with pytest.raises(Conflict, match="编发 1 已有第 2 版，要编发的是第 1 版"):
        office.issue(number, 1, *WHO)
    with pytest.raises(NotFound, match="编发 1 没有第 3 版，现有 1 至 2"):
        office.version(number, 3)
    assert office.get(number).text.sources == (1,)


@pytest.mark.both_engines
def test_issuing_gives_the_next_number_of_series_and_year(office: Bulletins) -> None:
    first = issued(office)
    assert (first.state, first.issue, first.issued_on) == ("已编发", "2026年第1期", "2026-03-02")
    office.withdraw(first.id, *WHO)
    assert issued(office).issue == "2026年第2期"  # not given out again
    assert issued(office, series="专报").issue == "2026年第1期"
    office.store.now = at("2026-12-31T17:00:00+00:00")  # the next year in China
    assert issued(office).issue == "2027年第1期"
    assert office.lifecycle.standing([1])[1].number == "2026-000001"
    assert kinds(office, 1).count("issued") == 4
    assert kinds(office, 1).count("unissued") == 1
    assert [one.id for one in office.page(state="已撤回")] == [first.id]
    assert [one.series for one in office.page(series="专报")] == ["专报"]
    assert len(office.page(after=1, limit=2)) == 2


def _issue(url: str, numbers: list[int]) -> None:
    store = Store(url, "default")
    for number in numbers:
        Bulletins(Lifecycle(store, RULES)).issue(number, 1, *WHO)
    store.close()


@pytest.mark.both_engines
def test_two_processes_leave_no_gap_and_no_double(office: Bulletins) -> None:
    numbers = [office.create("社情民意信息", text(), *WHO).id for _ in range(10)]
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_issue, args=(office.store.url, numbers[i::2])) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert sorted(one.number or 0 for one in office.page()) == list(range(1, 11))


def test_a_refused_issue_leaves_nothing(office: Bulletins) -> None:
    number = office.create("社情民意信息", text(1, 2), *WHO).id
    office.lifecycle.step(2, "returned", *WHO)
    stamp = office.store.stamp()
    with pytest.raises(StepRefused, match="2 号材料现为“已退回”，不能“编发”"):
        office.issue(number, 1, *WHO)
    assert office.store.stamp() == stamp
    assert office.get(number).state == "草稿"
    assert kinds(office, 1) == ["received", "analysed"]
    office.lifecycle.step(2, "reopened", *WHO)
    assert office.issue(number, 1, *WHO).issue == "2026年第1期"
    with pytest.raises(Conflict, match="编发 1 现为“已编发”，“草稿”的才能修改"):
        office.save(number, 1, text(), *WHO)
    office.withdraw(number, *WHO)
    with pytest.raises(Conflict, match="编发 1 已经撤回"):
        office.withdraw(number, *WHO)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sources": ()}, "sources：应有 1 至 200 件来稿，实有 0 件"),
        ({"sources": (1, 1)}, "sources：'1' 不是材料编号，或重复"),
        ({"sources": ("x",)}, "sources：'x' 不是材料编号，或重复"),
        ({"recipients": ["市委"] * 31}, "recipients：至多 30 个报送对象，实有 31 个"),
        ({"title": ""}, "title：内容为空"),
        ({"body": " "}, "body：内容为空"),
        ({"title": "长" * 201}, "title：.*200"),
    ],
)
def test_a_text_that_cannot_be_saved(wrong: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"title": "题", "body": "文", "recipients": [], "sources": (1,)}
    with pytest.raises(InputError, match=message):
        read_text(**{**given, **wrong})


def test_what_a_bulletin_rests_on_must_be_there(office: Bulletins) -> None:
    with pytest.raises(NotFound, match="没有编号为 9 的材料"):
        office.create("社情民意信息", text(1, 9), *WHO)
    assert office.page() == []
    with pytest.raises(NotFound, match="没有编号为 1 的编发"):
        office.get(1)
    number = office.create("社情民意信息", text(1, to=()), *WHO).id
    with pytest.raises(InputError, match="recipients：编发 1 还没有报送对象"):
        office.issue(number, 1, *WHO)


@pytest.mark.both_engines
def test_an_adoption_is_recorded_once_for_all_sources_and_taken_back_at_once(office: Bulletins) -> None:
    number = issued(office, 1, 2, 3).id
    office.lifecycle.step(3, "withdrawn", *WHO)
    assert office.adopt(number, {"level": "省"}, *WHO) == (1, 2)
    standing = office.lifecycle.standing([1, 2, 3])
    assert [standing[n].adoption for n in (1, 2, 3)] == ["省 综合 社情民意信息2026年第1期"] * 2 + [None]
    office.adopt(number, {"level": "全国", "form": "转送", "issue": "第9期", "happened_on": "2026-03-01"}, *WHO)
    last = office.lifecycle.events(1)[-1]
    assert last.detail["happened_on"] == "2026-03-01"
    assert office.retract(number, last.id, *WHO) == (1, 2)
    assert office.lifecycle.standing([2])[2].adoption == "省 综合 社情民意信息2026年第1期"
    with pytest.raises(Conflict, match=f"{last.id} 号记录已经撤销"):
        office.retract(number, last.id, *WHO)
    with pytest.raises(InputError, match="编发 1 没有 1 号采用记录"):
        office.retract(number, 1, *WHO)
    assert [e["kind"] for e in office.history(number)] == ["created", "issued", "adopted", "adopted", "retracted"]
    for n in (1, 2, 3):
        assert office.lifecycle.standing([n])[n] == fold(office.lifecycle.events(n))


def test_only_what_was_issued_is_adopted(office: Bulletins) -> None:
    number = office.create("社情民意信息", text(1), *WHO).id
    with pytest.raises(Conflict, match="编发 1 现为“草稿”，“已编发”的才能采用"):
        office.adopt(number, {"level": "省"}, *WHO)
    office.issue(number, 1, *WHO)
    with pytest.raises(InputError, match="level：'街道' 无效，应为 全国、省、市、区（市、县） 之一"):
        office.adopt(number, {"level": "街道"}, *WHO)
    with pytest.raises(InputError, match="happened_on：2026-03-03 还没有到，今天是 2026-03-02"):
        office.adopt(number, {"level": "省", "happened_on": "2026-03-03"}, *WHO)
    office.lifecycle.step(1, "withdrawn", *WHO)
    with pytest.raises(Conflict, match="编发 1 的来稿都已退回或撤回"):
        office.adopt(number, {"level": "省"}, *WHO)


def test_the_paper_names_members_and_units_and_stars_out_citizens(office: Bulletins) -> None:
    found = issued(office, 1, 2, 3)
    lines = [p.text for p in Document(io.BytesIO(bulletin_docx(found, office.materials(found)))).paragraphs]
    assert lines == [
        "社情民意信息", "2026年第1期　　2026年3月2日", "关于修复路灯的建议", "青云路多处路灯不亮。",
        "夜间出行危险！建议尽快修复，电话***********。", "来稿：", "2026-000001　张三，经济界", "2026-000002　民革贵阳市委",
        "2026-000003　李**", "报送：市委办公厅",
    ]  # fmt: skip
    draft = office.create("专报", text(1, body="含\x0b控制符", to=()), *WHO)
    lines = [p.text for p in Document(io.BytesIO(bulletin_docx(draft, office.materials(draft)))).paragraphs]
    assert lines[1:] == [
        "（草稿，未编号）",
        "关于修复路灯的建议",
        "含控制符",
        "来稿：",
        "2026-000001　张三，经济界",
        "报送：（未定）",
    ]
    office.withdraw(found.id, *WHO)
    found = office.get(found.id)
    [_, number, *_] = Document(io.BytesIO(bulletin_docx(found, office.materials(found)))).paragraphs
    assert number.text.startswith("2026年第1期（已撤回）")
