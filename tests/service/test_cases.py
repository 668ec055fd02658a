from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from nlp.contracts import Comparison, Conflict, Context, Span
from nlp.errors import InputError
from service.app import create_app
from service.cases import Cases, NotFound
from service.cases import Conflict as CaseConflict
from service.database import StoreError
from service.duplicates import Duplicates
from service.engine import Engine, Models
from service.erasure import erase
from service.search import Index
from service.settings import Settings
from service.store import Store, Submission, Submitter
from service.tables import case_members, events, follows, grades
from service.voices import Voices, count_voices, phone_of, voice_of
from tests.conftest import CharacterGrader
from tests.service.test_store import ENCODER, analysis

pytestmark = pytest.mark.both_engines
LAMP = "小区门口的路灯坏了半个月没人修。"
LID = "井盖也松动了，走路很危险。"
SIGNED = {"actor": "王芳", "reason": "同一处路灯"}


def fill(store: Store, count: int, **submitter: str) -> None:
    rows = [(Submission("12345", f"WO-{i}", LAMP, submitter=Submitter(**submitter)), analysis()) for i in range(count)]
    store.add(rows, ENCODER, "t")


@pytest.fixture
def cases(store: Store) -> Cases:
    """Six submissions, numbered 1 to 6, of unknown submitters."""
    fill(store, 6)
    return Cases(store)


def post(client: TestClient, *items: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    response = client.post("/v1/submissions", json={"items": items}, params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


def refused(response: Any, status: int, detail: str, field: str) -> None:
    body = response.json()
    assert (response.status_code, body["detail"], body["errors"][0]["field"]) == (status, detail, field)


# Merging and undoing


def test_merge_leaves_every_submission_as_it_was(cases: Cases, store: Store) -> None:
    before = store.get_many([1, 2, 3])
    case = cases.merge(2, [1, 2, 3], "王芳", "同一处路灯")
    assert (case.id, case.state, case.lead, case.members, case.left) == (1, "open", 2, (2, 1, 3), ())
    assert store.get_many([1, 2, 3]) == before
    assert cases.get(1) == case
    assert [cases.case_of(n) for n in (1, 2, 3, 4)] == [1, 1, 1, None]
    assert cases.memberships() == {1: (1, 2), 2: (1, 2), 3: (1, 2)}
    assert cases.memberships([3, 4]) == {3: (1, 2)}


def test_undo_one_member_and_merge_it_elsewhere(cases: Cases) -> None:
    cases.merge(1, [1, 2, 3], "王芳", "同一处路灯")
    case = cases.undo(1, "李雷", "不是同一盏灯", member=3)
    assert (case.state, case.members, case.left) == ("open", (1, 2), (3,))
    assert cases.merge(4, [4, 3], "王芳", "另一处").members == (4, 3)


def test_undo_the_whole_case_frees_all_and_keeps_the_record(cases: Cases) -> None:
    cases.merge(1, [1, 2], "王芳", "同一处路灯")
    case = cases.undo(1, "李雷", "误并")
    assert (case.state, case.members) == ("undone", (1, 2))
    assert case.closed_at is not None
    assert cases.memberships() == {}
    assert cases.merge(2, [2, 1], "王芳", "还是同一处").id == 2
    assert [c.id for c in cases.page()] == [1, 2]
    assert [c.id for c in cases.page(state="open")] == [2]
    assert [c.id for c in cases.page(state="undone")] == [1]
    assert [c.id for c in cases.page(after=1, limit=1)] == [2]


def test_a_case_left_with_its_lead_alone_is_undone(cases: Cases) -> None:
    cases.merge(1, [1, 2], "王芳", "同一处路灯")
    case = cases.undo(1, "李雷", "误并", member=2)
    assert (case.state, case.members, case.left) == ("undone", (1,), (2,))
    assert cases.memberships() == {}
    assert [(e["kind"], e["submission_id"]) for e in cases.history(1)[2:]] == [("unmerged", 1), ("unmerged", 2)]


def test_later_arrivals_join_and_may_come_back(cases: Cases) -> None:
    cases.merge(1, [1, 2], "王芳", "同一处路灯")
    assert cases.join(1, [4, 3], "王芳", "新到").members == (1, 2, 3, 4)
    cases.undo(1, "李雷", "看错", member=3)
    assert cases.join(1, [3], "李雷", "没看错").members == (1, 2, 3, 4)


def test_every_step_is_an_event_with_actor_and_reason(cases: Cases, store: Store) -> None:
    cases.merge(1, [1, 2, 3], "王芳", "同一处路灯")
    cases.undo(1, "李雷", "不是同一盏灯", member=3)
    cases.undo(1, "王芳", "分开办理")
    steps = [(e["kind"], e["submission_id"], e["actor"], e["detail"]["reason"]) for e in cases.history(1)]
    assert steps == [
        *[("merged", n, "王芳", "同一处路灯") for n in (1, 2, 3)],
        ("unmerged", 3, "李雷", "不是同一盏灯"),
        *[("unmerged", n, "王芳", "分开办理") for n in (1, 2)],
    ]
    own = [e for e in store.history(3) if e["kind"] != "received" and e["kind"] != "analysed"]
    assert [(e["kind"], e["detail"]) for e in own] == [
        ("merged", {"case": 1, "lead": 1, "reason": "同一处路灯"}),
        ("unmerged", {"case": 1, "reason": "不是同一盏灯", "whole": False}),
    ]
    cases.merge(3, [3, 1], "王芳", "再并")
    assert len(cases.history(1)) == 6  # another case's steps are not this one's


def test_the_tables_are_what_the_events_say(cases: Cases, store: Store) -> None:
    cases.merge(1, [1, 2, 3, 4], "a", "b")
    cases.undo(1, "a", "b", member=2)
    cases.merge(2, [2, 5], "a", "b")
    cases.undo(2, "a", "b")
    cases.join(1, [5], "a", "b")
    cases.follow(6, 1, "a", "b")
    cases.unfollow(6, "a", "b")
    cases.follow(6, 2, "a", "b")
    inside: dict[int, int] = {}
    links: dict[int, int] = {}
    with store.reading() as connection:
        for row in connection.execute(sa.select(events).order_by(events.c.id)):
            detail, number = json.loads(row.detail), row.submission_id
            if row.kind == "merged":
                inside[number] = detail["case"]
            elif row.kind == "unmerged":
                del inside[number]
            elif row.kind == "follows":
                links[number] = detail["earlier"]
            elif row.kind == "unfollowed":
                del links[number]
        held = connection.execute(sa.select(case_members).where(case_members.c.open == 1)).all()
        linked = connection.execute(sa.select(follows)).all()
    assert inside == {row.submission_id: row.case_id for row in held} == {1: 1, 3: 1, 4: 1, 5: 1}
    assert links == {row.submission_id: row.earlier_id for row in linked} == {6: 2}


def test_a_refused_merge_leaves_nothing(cases: Cases, store: Store) -> None:
    cases.merge(1, [1, 2], "a", "b")
    stamp = store.stamp()
    with pytest.raises(CaseConflict):
        cases.merge(3, [3, 4, 2], "a", "b")
    assert (store.stamp(), cases.case_of(3), len(cases.page())) == (stamp, None, 1)


def test_of_two_merging_the_same_submission_exactly_one_wins(settings: Settings, cases: Cases) -> None:
    stores = [Store(settings.database_url, settings.office_id) for _ in range(2)]
    barrier, outcomes = threading.Barrier(2), []

    def merge(own: Store, lead: int) -> None:
        barrier.wait(10)
        try:
            outcomes.append(Cases(own).merge(lead, [lead, 6], "a", "b").id)
        except CaseConflict as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=merge, args=(own, lead)) for lead, own in enumerate(stores, 1)]
    for thread in threads:
        thread.start()
    for thread, own in zip(threads, stores, strict=True):
        thread.join(30)
        own.close()
    assert sorted(outcomes, key=str) == [1, "members：6 号材料已在并案 1 中，请先将其撤出"]


def test_the_database_itself_keeps_a_submission_from_two_open_cases(cases: Cases, store: Store) -> None:
    cases.merge(1, [1, 2], "a", "b")
    cases.merge(3, [3, 4], "a", "b")
    row = {"office_id": store.office_id, "case_id": 2, "submission_id": 1, "open": 1}
    with pytest.raises(StoreError, match=r"(?i)unique"), store.writing() as connection:
        connection.execute(case_members.insert().values(**row))


def test_offices_number_their_own_cases(settings: Settings, cases: Cases) -> None:
    cases.merge(1, [1, 2], "a", "b")
    other = Store(settings.database_url, "other")
    fill(other, 2)
    assert Cases(other).page() == []
    assert Cases(other).merge(1, [1, 2], "a", "b").id == 1
    assert Cases(other).links() == {}
    other.close()


# Whose voice


def test_voices_are_telephones_and_public_names() -> None:
    zhang = Submitter("张三", "138 1234 5678")
    assert (
        phone_of(zhang)
        == phone_of(Submitter(phone="+86-138-1234-5678"))
        == phone_of(Submitter(phone="１３８１２３４５６７８"))
    )
    assert [phone_of(Submitter(phone=p)) for p in ("138****5678", "110", "00000000000", "", None)] == [None] * 5
    assert voice_of(Submitter("张三")) is None  # a common name is no proof
    assert voice_of(Submitter("张三", kind="委员")) == ("name", "张三")
    assert voice_of(Submitter("U0008488")) == ("name", "U0008488")  # an account
    assert count_voices([]) == 0
    assert count_voices([zhang, Submitter("张三丰", "13812345678")]) == 1
    assert count_voices([Submitter(), Submitter(), Submitter("李四"), Submitter("李四")]) == 4
    assert count_voices([Submitter("民建", kind="党派"), Submitter("民建", kind="党派"), zhang]) == 2


def test_voices_follow_what_is_stored_revised_and_erased(store: Store, another: Callable[[str], Store]) -> None:
    def put(number: int, submitter: Submitter) -> None:
        store.add([(Submission("12345", f"WO-{number}", LAMP, submitter=submitter), analysis())], ENCODER, "t")

    voices, zhang = Voices(store), Submitter("张三", "13812345678")
    for number, submitter in enumerate([zhang, Submitter("张三"), Submitter(phone="+86 138-1234-5678")], 1):
        put(number, submitter)
    assert voices.same(Submitter(phone="１３８１２３４５６７８")) == {1, 3}
    assert voices.same(Submitter("张三")) == set()
    put(4, zhang)
    put(3, Submitter(phone="13900001111"))
    assert (voices.same(zhang), voices.same(Submitter(phone="13900001111"))) == ({1, 4}, {3})
    erase(another(store.office_id), [1, 3, 4], "王芳", "本人要求")
    voices.follow()
    assert (voices.same(zhang), voices._of, voices._numbers) == (set(), {}, {})


# Follow-ups


def test_a_follow_up_is_linked_and_unlinked_with_actor_and_reason(cases: Cases, store: Store) -> None:
    cases.follow(2, 1, "王芳", "对答复不满意")
    cases.follow(3, 2, "王芳", "又来")
    assert cases.links() == {2: 1, 3: 2}
    assert cases.later([1, 2, 4]) == {1: [2, 3], 2: [3], 4: []}
    cases.unfollow(2, "李雷", "不是同一件")
    assert cases.links() == {3: 2}
    own = [(e["kind"], e["actor"], e["detail"]) for e in store.history(2)[2:]]
    assert own == [
        ("follows", "王芳", {"earlier": 1, "reason": "对答复不满意"}),
        ("unfollowed", "李雷", {"earlier": 1, "reason": "不是同一件"}),
    ]


def test_follow_ups_are_not_counted(cases: Cases) -> None:
    cases.follow(3, 2, "王芳", "又来")
    cases.follow(4, 3, "王芳", "又来")
    outline = cases.outline(cases.merge(1, [1, 2], "王芳", "同一处"))
    assert (len(outline.case.members), outline.voices, outline.follow_ups) == (2, 2, (3, 4))


@pytest.mark.parametrize(
    ("one", "two", "allowed"),
    [
        (Submitter("张三", "13812345678"), Submitter("张三", "13987654321"), True),  # a new telephone
        (Submitter("张三", "13812345678"), Submitter("李四", "13812345678"), True),
        (Submitter("张三"), Submitter(), True),
        (Submitter("张三"), Submitter("李四"), False),
        (Submitter("张三", "13812345678"), Submitter("李四", "13987654321"), False),
    ],
)
def test_another_persons_voice_is_not_taken_away(store: Store, one: Submitter, two: Submitter, allowed: bool) -> None:
    rows = [(Submission("s", str(i), LAMP, submitter=who), analysis()) for i, who in enumerate((one, two))]
    store.add(rows, ENCODER, "t")
    if allowed:
        Cases(store).follow(2, 1, "a", "b")
        return
    with pytest.raises(CaseConflict, match="earlier：2 号与 1 号材料的反映人不同，不是续报"):
        Cases(store).follow(2, 1, "a", "b")


# Every refusal

MERGED: list[tuple[Callable[[Cases], Any], type[Exception], str]] = [
    (lambda c: c.merge(1, [1, 77], "a", "b"), NotFound, "members：没有编号为 77 的材料"),
    (lambda c: c.merge(1, [1, 2**70], "a", "b"), NotFound, f"members：没有编号为 {2**70} 的材料"),
    (lambda c: c.merge(4, [4, 2], "a", "b"), CaseConflict, "members：2 号材料已在并案 1 中，请先将其撤出"),
    (lambda c: c.merge(4, [4, 6], "a", "b"), CaseConflict, "members：6 号材料是 5 号材料的续报，不另行并案；如不是续报请先解除"),
    (lambda c: c.merge(3, [4, 5], "a", "b"), InputError, "lead：主件 3 号材料不在 members（4、5）中"),
    (lambda c: c.merge(4, [4], "a", "b"), InputError, "members：并案应有 2 至 1000 件材料（含主件），实有 1 件"),
    (lambda c: c.merge(1, list(range(1, 1002)), "a", "b"), InputError, "members：并案应有 2 至 1000 件材料（含主件），实有 1001 件"),
    (lambda c: c.merge(4, [4, 5, 4], "a", "b"), InputError, "members：4 号材料重复"),
    (lambda c: c.merge(4, [4, 5], " ", "b"), InputError, "actor：内容为空"),
    (lambda c: c.merge(4, [4, 5], "a", ""), InputError, "reason：内容为空"),
    (lambda c: c.merge(4, [4, 5], "a" * 101, "b"), InputError, "actor：最多 100 个字符，实为 101 个"),
    (lambda c: c.merge(4, [4, 5], "a", "b\0"), InputError, "reason：第 2 个字符是空字符 U+0000，不是有效文字"),
    (lambda c: c.join(1, [], "a", "b"), InputError, "members：应有至少 1 件，且并入后不超过 1000 件；实有 0 件，并入后 3 件"),
    (lambda c: c.join(1, [3], "a", "b"), CaseConflict, "members：3 号材料已在并案 1 中，请先将其撤出"),
    (lambda c: c.join(9, [4], "a", "b"), NotFound, "case：没有编号为 9 的并案"),
    (lambda c: c.undo(2**70, "a", "b"), NotFound, f"case：没有编号为 {2**70} 的并案"),
    (lambda c: c.undo(1, "", "b"), InputError, "actor：内容为空"),
    (lambda c: c.undo(1, "a", "b", member=4), NotFound, "member：并案 1 中没有 4 号材料"),
    (lambda c: c.undo(1, "a", "b", member=1), CaseConflict, "member：1 号材料是并案 1 的主件，不能单独撤出；可撤销整个并案后另选主件"),
    (lambda c: (c.undo(1, "a", "b"), c.undo(1, "a", "b")), CaseConflict, "case：并案 1 已于"),
    (lambda c: c.history(5), NotFound, "case：没有编号为 5 的并案"),
    (lambda c: c.follow(4, 4, "a", "b"), InputError, "earlier：4 号材料不能是自己的续报"),
    (lambda c: c.follow(77, 4, "a", "b"), NotFound, "id：没有编号为 77 的材料"),
    (lambda c: c.follow(4, 77, "a", "b"), NotFound, "earlier：没有编号为 77 的材料"),
    (lambda c: c.follow(6, 4, "a", "b"), CaseConflict, "id：6 号材料已是 5 号材料的续报，请先解除"),
    (lambda c: c.follow(5, 6, "a", "b"), CaseConflict, "earlier：6 号材料本身是 5 号材料的续报，不能互为续报"),
    (lambda c: c.follow(2, 4, "a", "b"), CaseConflict, "id：2 号材料已在并案 1 中，请先将其撤出"),
    (lambda c: c.follow(4, 1, "a", ""), InputError, "reason：内容为空"),
    (lambda c: c.unfollow(4, "a", "b"), NotFound, "id：4 号材料不是任何材料的续报"),
    (lambda c: c.unfollow(77, "a", "b"), NotFound, "id：没有编号为 77 的材料"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "kind", "message"), MERGED, ids=[m for _, _, m in MERGED])
def test_a_step_that_cannot_be_taken_says_why(
    cases: Cases, step: Callable[[Cases], Any], kind: type[Exception], message: str
) -> None:
    cases.merge(1, [1, 2, 3], "a", "b")
    cases.follow(6, 5, "a", "b")
    with pytest.raises(kind) as caught:
        step(cases)
    assert str(caught.value).startswith(message)


# Over HTTP


def test_a_case_from_merge_to_notice(client: TestClient) -> None:
    zhang = {"name": "张三丰", "phone": "13812345678"}
    post(
        client,
        {"external_id": "WO-1", "title": "路灯不亮", "text": LAMP, "received_at": "2024-05-06", "submitter": zhang},
        {"external_id": "WO-2", "text": f"{LAMP}{LID}请回电13912345678，我是李逍遥。",
         "submitter": {"name": "李逍遥", "phone": "13912345678"}},
        {"external_id": "WO-3", "text": LAMP, "submitter": {"name": "王五", "phone": "139 1234 5678"}},
        {"external_id": "WO-4", "text": LAMP, "submitter": zhang},
    )  # fmt: skip
    linked = client.post("/v1/submissions/4/follows", json={"earlier": 1, **SIGNED})
    assert (linked.status_code, linked.json()) == (200, {"id": 4, "follows": 1})
    merged = client.post(
        "/v1/cases", json={"lead": 1, "members": [3, 1, 2], "actor": "王芳", "reason": "同一处，来电13812345678"}
    )
    assert merged.status_code == 201, merged.text
    expected = {"id": 1, "state": "open", "lead": 1, "members": [1, 2, 3], "left": [], "erased": [], "count": 3, "voices": 2,
                "follow_ups": [4], "closed_at": None}  # fmt: skip
    assert {k: v for k, v in merged.json().items() if k != "opened_at"} == expected
    assert client.get("/v1/cases").json() == {"items": [merged.json()], "next": None}
    assert client.get("/v1/cases", params={"state": "undone", "limit": 1}).json()["items"] == []

    detail = client.get("/v1/cases/1").json()
    assert [m["external_id"] for m in detail["materials"]] == ["WO-1", "WO-2", "WO-3"]
    assert [[a["text"] for a in m["added"]] for m in detail["materials"]] == [
        [], [LID, "请回电***********，我是李**。"], [],
    ]  # fmt: skip
    assert [m["follow_ups"] for m in detail["materials"]] == [[4], [], []]
    assert detail["materials"][0]["submitter"]["name"] == "张**"
    assert detail["materials"][0]["received_at"] == "2024-05-06T00:00:00+08:00"
    assert [e["kind"] for e in detail["events"]] == ["merged"] * 3
    one = client.get("/v1/submissions/1").json()
    assert (one["case"], one["follows"], one["followed_by"]) == (1, None, [4])

    text = client.get("/v1/cases/1/notice")
    page = client.get("/v1/cases/1/notice", params={"format": "html"})
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert page.headers["content-disposition"].startswith("attachment; filename*=UTF-8''")
    for content in (text.text, page.text):
        for shown in (
            "并入材料：3 件",
            "反映人：2 人",
            "续报：1 件",
            "王芳",
            "WO-1",
            "2024年5月6日",
            LID.rstrip("。"),
            "WO-4",
            "同一处，来电***********",
        ):
            assert shown in content, shown
        for hidden in ("13812345678", "13912345678", "张三丰", "李逍遥"):
            assert hidden not in content, hidden
    assert "内容未超出主件的 1 件：WO-3" in text.text

    undone = client.post("/v1/cases/1/undo", json={**SIGNED, "member": 3})
    assert (undone.json()["members"], undone.json()["left"]) == ([1, 2], [3])
    joined = client.post("/v1/cases/1/members", json={**SIGNED, "members": [3]})
    assert joined.json()["members"] == [1, 2, 3]
    assert client.post("/v1/cases/1/undo", json=SIGNED).json()["state"] == "undone"
    assert "（已撤销）" in client.get("/v1/cases/1/notice").text
    assert client.post("/v1/submissions/4/follows/undo", json=SIGNED).json() == {"id": 4, "follows": None}


def test_errors_over_http_name_status_field_and_item(client: TestClient, store: Store) -> None:
    fill(store, 3)

    def merge(**body: Any) -> Any:
        return client.post("/v1/cases", json={"lead": 1, "members": [1, 2], **SIGNED, **body})

    refused(merge(members=[1, 77]), 404, "members：没有编号为 77 的材料", "members")
    refused(merge(lead=3), 422, "lead：主件 3 号材料不在 members（1、2）中", "lead")
    refused(merge(members=[1]), 422, "members：并案应有 2 至 1000 件材料（含主件），实有 1 件", "members")
    refused(merge(actor=""), 422, "actor：内容为空", "actor")
    assert merge().status_code == 201
    refused(merge(), 409, "members：1 号材料已在并案 1 中，请先将其撤出", "members")
    assert merge().json()["type"] == "urn:minsheng:problem:conflict"
    for path in ("/v1/cases/9", "/v1/cases/9/notice", f"/v1/cases/{2**70}"):
        refused(client.get(path), 404, f"case：没有编号为 {path.split('/')[3]} 的并案", "case")
    refused(
        client.post("/v1/cases/1/undo", json={**SIGNED, "member": 3}), 404, "member：并案 1 中没有 3 号材料", "member"
    )
    refused(client.post("/v1/submissions/3/follows", json={**SIGNED, "earlier": 3}), 422,
            "earlier：3 号材料不能是自己的续报", "earlier")  # fmt: skip
    for body in (
        {"lead": 1},
        {"lead": "1"},
        {"lead": True},
        {"members": [1, 0]},
        {"members": 1},
        {"extra": 1},
        {"actor": 5},
    ):
        answer = client.post(
            "/v1/cases",
            json={"lead": 1, "members": [1, 2], **SIGNED, **body} if len(body) and body != {"lead": 1} else body,
        )
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:minsheng:problem:invalid-request")


def test_the_notice_fits_a_page_and_says_what_it_leaves_out(client: TestClient) -> None:
    sentences = "甲乙丙丁戊己庚辛壬癸子丑"
    items = [
        {"external_id": f"L-{i}", "text": f"{LAMP}{c * 90}。{c}二三四五六七八。{c}九八七六五四三。"}
        for i, c in enumerate(sentences)
    ]
    items += [{"external_id": f"S-{i}", "text": LAMP} for i in range(60)]
    post(client, {"external_id": "LEAD", "text": LAMP * 60}, *items)
    client.post("/v1/cases", json={"lead": 1, "members": list(range(1, 74)), **SIGNED})
    text = client.get("/v1/cases/1/notice").text
    assert sum(max(1, -(-len(line) // 42)) for line in text.splitlines()) <= 50  # lines of an A4 page in 五号
    assert "另有 7 件也有补充诉求，未逐一列出：L-5、L-6、L-7、L-8、L-9、L-10、L-11\n" in text
    assert "；另有 1 句" in text
    assert "内容未超出主件的 60 件：S-0、" in text
    assert "S-23等\n" in text


def test_the_html_notice_escapes_what_people_wrote(client: TestClient) -> None:
    post(
        client,
        {"external_id": "<b>1", "text": LAMP},
        {"external_id": "2", "text": f"{LAMP}<script>alert(1)</script>快修。"},
    )
    client.post("/v1/cases", json={"lead": 1, "members": [1, 2], **SIGNED})
    page = client.get("/v1/cases/1/notice", params={"format": "html"}).text
    assert "<script>" not in page
    assert "&lt;b&gt;1" in page
    assert "<script>" in client.get("/v1/cases/1/notice").text


# On arrival


def test_storing_returns_likely_duplicates_and_the_submitters_earlier_one(client: TestClient) -> None:
    zhang = {"name": "张三丰", "phone": "13812345678"}
    post(client, {"external_id": "A", "title": "张三丰的路灯", "text": LAMP, "submitter": zhang},
         {"external_id": "B", "text": LAMP + "快"}, {"external_id": "C", "text": "烧烤店油烟很大不敢开窗"})  # fmt: skip
    [answer] = post(client, {"id": "q", "external_id": "D", "text": LAMP, "submitter": {"phone": "138-1234-5678"}})
    assert [d["external_id"] for d in answer["duplicates"]] == ["B"]
    assert answer["follows"]["external_id"] == "A"
    assert answer["follows"]["title"] == "张**的路灯"
    [found] = answer["duplicates"]
    share = len(set(LAMP)) / (len(set(LAMP)) + 1)
    assert found == {"id": 2, "external_id": "B", "title": "", "relation": "duplicate", "probability": round(share, 6),
                     "conflicts": [], "score": found["score"], "case": None}  # fmt: skip
    assert 0.9 < found["score"] < 1
    assert client.get("/v1/submissions/4").json()["follows"] is None  # proposed, not linked


def test_at_most_five_duplicates_the_surest_first_and_the_case_they_are_in(client: TestClient) -> None:
    post(client, *({"external_id": str(i), "text": LAMP + "快些来人换掉它吧"[:i]} for i in range(8)))
    client.post("/v1/cases", json={"lead": 1, "members": [1, 2], **SIGNED})
    client.post("/v1/submissions/3/follows", json={"earlier": 2, **SIGNED})
    [answer] = post(client, {"text": LAMP})
    assert [(d["external_id"], d["case"]) for d in answer["duplicates"]] == [
        ("0", 1), ("1", 1), ("3", None), ("4", None), ("5", None),
    ]  # fmt: skip
    assert answer["duplicates"][0]["probability"] == 1


def test_the_submitters_earlier_one_is_found_behind_a_campaign(client: TestClient) -> None:
    post(client, {"external_id": "mine", "text": LAMP + "请快些来人", "submitter": {"phone": "13812345678"}})
    post(client, *({"external_id": str(i), "text": LAMP} for i in range(15)))
    [answer] = post(client, {"text": LAMP, "submitter": {"phone": "13812345678"}})
    assert answer["follows"]["external_id"] == "mine"
    assert "mine" not in [d["external_id"] for d in answer["duplicates"]]


def test_a_dry_run_answers_and_stores_nothing(client: TestClient, store: Store) -> None:
    post(client, {"external_id": "A", "text": LAMP})
    stamp = store.stamp()
    answers = post(client, {"id": 1, "text": LAMP}, {"id": 2, "text": ""}, {"id": 3, "external_id": "A", "text": LAMP},
                   {"id": 4, "external_id": "A", "text": LAMP + "快"}, dry_run="true")  # fmt: skip
    assert [(a["submission_id"], a["outcome"]) for a in (answers[0], *answers[2:])] == [
        (None, "new"), (1, "unchanged"), (1, "revised"),
    ]  # fmt: skip
    assert answers[1]["error"]["type"] == "empty"
    assert [d["external_id"] for d in answers[0]["duplicates"]] == ["A"]
    assert answers[2]["duplicates"] == answers[3]["duplicates"] == []  # not its own duplicate
    assert (store.stamp(), store.count()) == (stamp, 1)


def test_conflicts_are_named_and_masked(settings: Settings, models: Models, store: Store) -> None:
    class Doubtful(CharacterGrader):
        def compare(self, a: Any, b: Any, context: Context) -> Comparison:
            phone = Span("text", len(LAMP), len(LAMP) + 11, b.document.text[len(LAMP) :], "MOBILE")
            return Comparison("duplicate", 0.8, 0.1, 0.1, (Conflict("number", a.document.span(0, 2, "X"), phone),), ())

    app = create_app(settings, replace(models, pairs=Doubtful()), store)
    with TestClient(app, base_url="http://localhost") as client:
        post(client, {"text": LAMP + "13812345678"})
        [answer] = post(client, {"text": LAMP})
    assert answer["duplicates"][0]["conflicts"] == [{"kind": "number", "a": "小区", "b": "***********"}]


# Suggestions


@pytest.fixture
def duplicates(models: Models, store: Store) -> Iterator[Duplicates]:
    engine = Engine(models, 4)
    yield Duplicates(engine, store)
    engine.close()


def receive(duplicates: Duplicates, *items: Submission) -> None:
    duplicates.engine.run(lambda: duplicates.receive(items, lambda analysed: {}, "t"))


def suggested(duplicates: Duplicates) -> list[tuple[int, ...]]:
    return [tuple(m.id for m in one.members) for one in duplicates.suggest().cases]


def test_an_empty_store_suggests_nothing(duplicates: Duplicates) -> None:
    assert duplicates.suggest().cases == duplicates.suggest().follows == ()


def test_suggestions_do_not_chain(duplicates: Duplicates) -> None:
    # Shared characters: 甲~乙 8 of 12, 乙~丙 8 of 12 (both duplicate), 甲~丙 6 of 14 (not).
    texts = ["一二三四五六七八九十", "三四五六七八九十百千", "五六七八九十百千万亿"]
    receive(duplicates, *(Submission("s", str(i), text) for i, text in enumerate(texts)))
    [one] = duplicates.suggest().cases
    assert tuple(m.id for m in one.members) == (1, 2)
    assert one.probability == pytest.approx(8 / 12)


def test_a_campaign_is_one_suggestion_with_its_count(duplicates: Duplicates) -> None:
    # Ten wordings, each sent three times, once with other white space; two unrelated texts around them.
    texts = [LAMP + "，请来人看"[: n % 5] + "！" * (n // 5) for n in range(10)]
    campaign = [Submission("s", f"{i}", f" {t}" if i % 3 else t) for i, t in enumerate(texts * 3)]
    receive(duplicates, Submission("s", "x", "烧烤店油烟很大不敢开窗"), *campaign, Submission("s", "y", "孩子上学难"))
    [one] = duplicates.suggest().cases
    assert (len(one.members), one.voices, one.case) == (30, 30, None)


def test_thirty_identical_texts_are_one_suggestion(duplicates: Duplicates) -> None:
    receive(
        duplicates, *(Submission("s", str(i), LAMP, submitter=Submitter(phone=f"1381234{i:04}")) for i in range(30))
    )
    [one] = duplicates.suggest().cases
    assert (len(one.members), one.voices, one.probability) == (30, 30, 1.0)


def test_the_earliest_received_leads_and_larger_suggestions_come_first(duplicates: Duplicates) -> None:
    dates = [None, "2024-05-07T01:00:00+08:00", "2024-05-06T20:00:00+00:00", "2024-05-06T09:00:00+08:00"]
    other = [Submission("s", f"o{i}", "烧烤店油烟很大不敢开窗") for i in range(2)]
    receive(duplicates, *other, *(Submission("s", str(i), LAMP, received_at=date) for i, date in enumerate(dates)))
    assert suggested(duplicates) == [(6, 4, 5, 3), (1, 2)]


def test_the_same_submitter_is_suggested_as_follow_up_not_as_member(duplicates: Duplicates) -> None:
    phones = ["13812345678", "13912345678", "138 1234 5678", None]
    receive(duplicates, *(Submission("s", str(i), LAMP, submitter=Submitter(phone=p)) for i, p in enumerate(phones)))
    found = duplicates.suggest()
    assert [(tuple(m.id for m in one.members), one.voices) for one in found.cases] == [((1, 2, 4), 3)]
    assert [(f.stored.id, f.earlier.id, f.probability) for f in found.follows] == [(3, 1, 1.0)]
    duplicates.cases.follow(3, 1, "a", "b")
    assert duplicates.suggest().follows == ()
    duplicates.cases.undo(duplicates.cases.merge(1, [1, 2, 4], "a", "b").id, "a", "b", member=2)
    assert suggested(duplicates) == [(1, 2)]


def test_open_cases_are_offered_what_came_later(duplicates: Duplicates) -> None:
    receive(duplicates, *(Submission("s", str(i), LAMP) for i in range(4)))
    duplicates.cases.merge(2, [2, 1], "a", "b")
    [one] = duplicates.suggest().cases
    assert (tuple(m.id for m in one.members), one.case) == ((2, 3, 4), 1)
    duplicates.cases.merge(3, [3, 4], "a", "b")
    assert suggested(duplicates) == []  # two open cases about one matter are for a person to settle


def test_asking_again_grades_only_what_is_new(models: Models, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(CharacterGrader):
        asked = 0

        def probabilities(self, pairs: Sequence[tuple[Any, Any]], context: Context) -> np.ndarray:
            self.asked += len(pairs)
            return super().probabilities(pairs, context)

    grader = Counting()
    engine = Engine(replace(models, pairs=grader), 4)
    duplicates = Duplicates(engine, store)
    engine.run(
        lambda: duplicates.receive([Submission("s", str(i), LAMP + "快些来"[:i]) for i in range(3)], lambda a: {}, "t")
    )
    grader.asked = 0
    reported: list[tuple[str, int, int]] = []
    first = duplicates.suggest(lambda *call: reported.append(call))
    assert (grader.asked, reported) == (3, [("比对", 3, 3)])
    assert Duplicates(engine, store).suggest() == first  # as after a restart
    assert grader.asked == 3
    engine.run(lambda: duplicates.receive([Submission("s", "0", LAMP + "改")], lambda a: {}, "t"))
    grader.asked = 0
    again = duplicates.suggest()
    assert grader.asked == 2
    with monkeypatch.context() as patch:  # grades that cannot be kept serve all the same
        patch.setattr(store, "writing", no_space)
        grader.name = "another"
        grader.asked = 0
        assert duplicates.suggest() == again
    assert grader.asked == 3  # another model's grades are not its own
    duplicates.suggest()
    assert grader.asked == 6
    erase(store, [2], "王芳", "本人要求")
    with store.reading() as connection:
        kept = connection.execute(sa.select(grades.c.other_id, grades.c.submission_id)).all()
    assert kept == [(1, 3)]
    engine.close()


def no_space() -> Any:
    raise StoreError("磁盘已满")


def test_the_vectors_in_memory_follow_what_is_stored(duplicates: Duplicates, store: Store) -> None:
    def check() -> int:
        index = duplicates.engine.index.follow(store)
        stored_keys, stored_matrix = store.vectors(duplicates.engine.models.encoder.encoder_id)
        keys = index.vectors.keys.tolist()
        assert keys == stored_keys
        np.testing.assert_array_equal(index.vectors.matrix, stored_matrix)
        fresh = Index(duplicates.engine.models.encoder.encoder_id).follow(store)
        words = ["路灯", "油烟", "上学", "小区"]
        assert index.terms.rank(words, 10) == fresh.terms.rank(words, 10)
        return len(keys)

    assert check() == 0
    receive(duplicates, *(Submission("s", str(i), LAMP + "快些来"[:i]) for i in range(3)))
    assert check() == 3
    receive(duplicates, Submission("s", "1", "烧烤店油烟"), Submission("s", "9", "孩子上学难"))
    assert check() == 4
    duplicates.cases.merge(1, [1, 3], "a", "b")
    assert check() == 4


def test_suggestions_over_http(client: TestClient) -> None:
    post(client, *({"external_id": f"WO-{i}", "title": "电话13812345678", "text": LAMP} for i in range(3)),
         *({"text": "烧烤店油烟很大不敢开窗"} for _ in range(2)))  # fmt: skip
    answer = client.get("/v1/cases/suggestions", params={"limit": 1}).json()
    [one] = answer["items"]
    assert (one["lead"], one["members"], one["count"], one["voices"], one["probability"], one["case"]) == (
        1,
        [1, 2, 3],
        3,
        3,
        1.0,
        None,
    )
    assert one["materials"][0] == {
        "id": 1, "external_id": "WO-0", "source": "api", "title": "电话***********", "received_at": None,
        "submitter": dict.fromkeys(("name", "phone", "party", "sector", "kind")),
    }  # fmt: skip
    assert (answer["total"], answer["follows"]) == (2, [])
