from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from docx import Document
from fastapi.testclient import TestClient
from openpyxl import load_workbook

from service import statistics as figures
from service.columns import guess_columns
from service.engine import Engine, Models
from service.intake import IntakeError, Row
from service.store import Store
from service.tables import topic_members, topics
from service.topics import Topics
from service.works import COLUMNS, Work, to_work
from tests.service.conftest import Run

KINDS = {
    "fumes": "楼下烧烤店油烟很大，油烟灌进家里，不敢开窗",
    "school": "孩子上小学学位不够，片区学校学位紧张怎么办",
    "lamp": "小区门口的路灯坏了半个月，晚上路灯不亮看不见路",
}
SIGNED = {"actor": "王芳", "reason": "试用"}
_DISTRICTS = ("云岩区", "南明区", "白云区")


def items(kind: str, days: Sequence[str | None], start: int = 0) -> list[dict[str, Any]]:
    """One submission a day, each of another submitter, from three districts in turn."""
    return [
        {
            "external_id": f"{kind}-{start + i}",
            "title": KINDS[kind][:9],
            "text": f"{KINDS[kind]}{'。！？；…'[i % 5]}",
            "received_at": day,
            "district": _DISTRICTS[i % 3],
            "submitter": {"name": "李明", "phone": f"13{sum(map(ord, kind)) % 9}{start + i:08}"},
        }
        for i, day in enumerate(days)
    ]


def post(client: TestClient, *batch: dict[str, Any]) -> list[int]:
    response = client.post("/v1/submissions", json={"items": list(batch)})
    assert response.status_code == 200, response.text
    return [item["submission_id"] for item in response.json()["items"]]


def get(client: TestClient, path: str, **query: Any) -> Any:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def concrete(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    return [t for t in get(client, "/v1/topics", **query)["topics"] if t["level"] == "concrete"]


@pytest.fixture
def filled(client: TestClient) -> TestClient:
    """Fumes all through the year; lamps in the last month alone; schools twice, which is no topic."""
    year = [f"2024-{month:02}-0{day}" for month in range(1, 13) for day in (1, 5)]
    lately = [f"2024-12-{day:02}" for day in range(8, 24)]
    post(client, *items("fumes", year), *items("lamp", lately), *items("school", ["2024-03-01", "2024-04-01"]))
    return client


# What topics are


@pytest.mark.both_engines
def test_topics_have_sizes_submitters_districts_and_trends(filled: TestClient) -> None:
    found = get(filled, "/v1/topics")
    lamp, fumes = (t for t in found["topics"] if t["level"] == "concrete")
    assert found["as_of"] == "2024-12-23"
    assert found["coverage"] == {"submissions": 42, "concrete": 40, "broad": 40, "scattered": 2}
    assert (lamp["size"], lamp["voices"], lamp["recent"], lamp["before"]) == (16, 16, 16, 0)
    assert (lamp["trend"]["verdict"], lamp["trend"]["label"]) == ("rising", "上升")
    assert (fumes["size"], fumes["trend"]["verdict"]) == (24, "falling")
    assert lamp["districts"] == {"云岩区": 6, "南明区": 5, "白云区": 5}
    assert set(lamp["submissions"]) == {f"lamp-{i}" for i in range(16)}
    assert [m["voices"] for m in lamp["months"]] == [0] * 11 + [16]
    assert "路灯" in lamp["name"]
    parents = {t["id"] for t in found["topics"] if t["level"] == "broad"}
    assert {lamp["parent"], fumes["parent"]} <= parents
    shown = lamp["representatives"]
    assert 1 <= len(shown) <= 3
    assert shown[0]["submitter"]["name"] == "李*"
    assert "13" not in json.dumps(shown[0]["submitter"]["phone"][:7])


def test_one_person_writing_often_is_one_voice(client: TestClient) -> None:
    batch = items("lamp", ["2024-12-01"] * 8)
    for item in batch[:6]:
        item["submitter"] = {"phone": "13800001111"}
    post(client, *batch)
    [topic] = concrete(client)
    assert (topic["size"], topic["voices"]) == (8, 3)


def test_cases_and_follow_ups_are_counted_once(client: TestClient) -> None:
    batch = items("lamp", ["2024-12-01"] * 6)
    batch[5]["submitter"] = batch[4]["submitter"]
    numbers = post(client, *batch)
    merged = {"lead": numbers[0], "members": numbers[:3], **SIGNED}
    assert client.post("/v1/cases", json=merged).status_code == 201
    follow = {"earlier": numbers[4], **SIGNED}
    assert client.post(f"/v1/submissions/{numbers[5]}/follows", json=follow).status_code == 200
    [topic] = concrete(client)
    assert (topic["size"], topic["distinct"], topic["voices"]) == (6, 3, 5)


def test_as_of_a_day_only_what_had_come_by_then_counts(filled: TestClient) -> None:
    before = concrete(filled, as_of="2024-06-30")
    assert [(t["name"], t["size"]) for t in before] == [(before[0]["name"], 12)]
    assert get(filled, "/v1/topics", as_of="2024-06-30")["as_of"] == "2024-06-30"
    assert get(filled, "/v1/topics", as_of="2010-01-01")["notes"] == ["截至 2010-01-01 没有材料。"]
    assert len(concrete(filled)) == 2


def test_topics_keep_number_and_members_when_others_arrive(filled: TestClient) -> None:
    before = {t["id"]: set(t["submissions"]) for t in concrete(filled)}
    post(filled, *items("lamp", ["2024-12-24"], start=50), *items("school", ["2024-12-25"], start=50))
    after = {t["id"]: set(t["submissions"]) for t in concrete(filled)}
    assert all(members <= after[number] for number, members in before.items())
    assert {"lamp-50"} == set().union(*(after[n] - before[n] for n in before))
    [new] = [members for number, members in after.items() if number not in before]
    assert new == {"school-0", "school-1", "school-50"}


def test_a_revised_submission_is_looked_at_again(filled: TestClient) -> None:
    [lamp, fumes] = concrete(filled)
    revised = {**items("fumes", ["2024-12-20"])[0], "external_id": "lamp-0"}
    post(filled, revised)
    found = {t["id"]: t for t in concrete(filled)}
    assert "lamp-0" in found[fumes["id"]]["submissions"]
    assert "lamp-0" not in found[lamp["id"]]["submissions"]


@pytest.mark.parametrize(
    ("batch", "note"),
    [
        ([], "还没有登记任何材料，登记或导入后再看议题。"),
        (items("lamp", ["2024-12-01"]), "只有 1 件材料，不足以形成议题。"),
        (items("lamp", [None] * 4), "4 件没有收到日期，不计入升降。"),
        (items("lamp", ["2124-12-01"] * 4), "4 件的收到日期晚于今天，不计入升降，请核对。"),
    ],
    ids=["empty", "one", "no dates", "future"],
)
def test_little_or_odd_material_gets_a_clear_answer(client: TestClient, batch: list[Any], note: str) -> None:
    if batch:
        post(client, *batch)
    found = get(client, "/v1/topics")
    assert note in found["notes"]
    assert all(t["trend"]["label"] == "样本不足" for t in found["topics"])
    selection = get(client, "/v1/topics/candidates")
    assert selection["candidates"] == []
    assert note in selection["notes"]
    for format in ("xlsx", "docx"):
        assert client.get("/v1/topics/candidates", params={"format": format}).status_code == 200
    checked = client.post("/v1/topics/check", json={"title": "路灯不亮的问题"})
    assert checked.status_code == 200
    assert "未导入以往课题与提案" in checked.json()["verdict"]


def test_bad_dates_and_unknown_topics_are_said(client: TestClient) -> None:
    wrong = client.get("/v1/topics", params={"as_of": "昨天"})
    assert (wrong.status_code, wrong.json()["detail"]) == (422, "as_of：日期无法识别：'昨天'，应如 2024-05-31")
    missing = client.get("/v1/topics/7/history")
    assert (missing.status_code, missing.json()["detail"]) == (404, "id：没有编号为 7 的议题")


def test_a_district_that_only_the_text_names_counts_and_it_is_said(client: TestClient, store: Store) -> None:
    batch = [{**item, "district": None} for item in items("lamp", ["2024-12-01"] * 6)]
    for item, place in zip(batch, ("观山湖区", "金阳", "花溪区", "花溪到乌当", "云岩区", "云岩区"), strict=True):
        item["text"] = f"{place}：{item['text']}"
    batch[5]["district"] = "南明区"  # its own stands before what the text says
    numbers = post(client, *batch)
    [topic] = concrete(client)
    counted = {"观山湖区": 2, "云岩区": 1, "南明区": 1, "花溪区": 1}
    assert (topic["districts"], topic["districts_by_text"]) == (counted, 4)
    [candidate] = get(client, "/v1/topics/candidates")["candidates"]
    parts = {p["name"]: p["note"] for p in candidate["parts"]}
    assert parts["breadth"] == "涉及 4 个区县（4 件由正文识别）"
    filed = get(client, "/v1/statistics", month="2024-12")
    table = filed["tables"]["district_theme"]
    assert {r: sum(c) for r, c in zip(table["rows"], table["counts"], strict=True)} == {**counted, "不详": 1}
    assert "4 件没有填写区县，由正文识别。" in filed["notes"]
    assert [i["id"] for i in get(client, "/v1/inbox", district="观山湖")["items"]] == numbers[:2]
    shown = get(client, f"/v1/submissions/{numbers[1]}")
    assert (shown["district"], shown["district_named"]) == (None, "观山湖区")
    with store.writing() as connection:  # found otherwise by a later analysis
        detail = {"primary": "urban", "matter": "roads_municipal", "district": "乌当区"}
        store.record(connection, numbers[0], "analysed", "machine", detail)
    assert concrete(client)[0]["districts"] == {"乌当区": 1, **counted, "观山湖区": 1}


# What researchers do


def act(client: TestClient, number: int, step: str, status: int = 200, **body: Any) -> Any:
    response = client.post(f"/v1/topics/{number}/{step}", json={**SIGNED, **body})
    assert response.status_code == status, response.text
    return response.json()


@pytest.mark.both_engines
def test_names_pins_and_dismissals_survive_new_arrivals_and_regrouping(filled: TestClient) -> None:
    lamp, fumes = concrete(filled)
    act(filled, lamp["id"], "rename", name="路灯失修")
    act(filled, fumes["id"], "pin")
    post(filled, *items("lamp", ["2024-12-24"], start=50))
    assert filled.post("/v1/topics/regroup", json=SIGNED).status_code == 200
    found = concrete(filled)
    assert [(t["id"], t["name"], t["pinned"]) for t in found] == [
        (fumes["id"], fumes["name"], True), (lamp["id"], "路灯失修", False),
    ]  # fmt: skip
    assert found[1]["machine_name"] == lamp["name"]
    act(filled, lamp["id"], "dismiss")
    assert [c["topic"] for c in get(filled, "/v1/topics/candidates")["candidates"]] == [fumes["id"]]
    act(filled, lamp["id"], "restore")
    act(filled, fumes["id"], "pin", pinned=False)
    history = get(filled, f"/v1/topics/{lamp['id']}/history")["events"]
    assert [e["kind"] for e in history] == ["found", "renamed", "dismissed", "restored"]
    assert (history[1]["actor"], history[1]["detail"]) == ("王芳", {"name": "路灯失修", "reason": "试用"})


def test_regrouping_keeps_the_numbers_of_topics_nobody_touched(filled: TestClient) -> None:
    before = {t["id"]: set(t["submissions"]) for t in concrete(filled)}
    assert filled.post("/v1/topics/regroup", json=SIGNED).status_code == 200
    assert {t["id"]: set(t["submissions"]) for t in concrete(filled)} == before


@pytest.mark.both_engines
def test_a_merge_counts_both_and_is_taken_back(filled: TestClient) -> None:
    lamp, fumes = concrete(filled)
    act(filled, fumes["id"], "merge", into=lamp["id"])
    found = {t["id"]: t for t in concrete(filled)}
    assert found[lamp["id"]]["size"] == 40
    assert (found[fumes["id"]]["size"], found[fumes["id"]]["state"]) == (0, "merged")
    post(filled, *items("fumes", ["2024-12-24"], start=50))  # what would have gone there counts here
    assert concrete(filled)[0]["size"] == 41
    act(filled, fumes["id"], "restore")
    assert {t["id"]: t["size"] for t in concrete(filled)} == {lamp["id"]: 16, fumes["id"]: 25}


def test_steps_that_make_no_sense_are_refused(filled: TestClient) -> None:
    lamp, fumes = (t["id"] for t in concrete(filled))
    broad = next(t["id"] for t in get(filled, "/v1/topics")["topics"] if t["level"] == "broad")
    assert act(filled, lamp, "merge", 422, into=lamp)["detail"] == f"into：议题 {lamp} 不能并入自己"
    assert act(filled, lamp, "merge", 404, into=999)["detail"] == "into：没有编号为 999 的议题"
    assert act(filled, lamp, "merge", 409, into=broad)["detail"] == f"into：议题 {broad} 应为未合并、未搁置的同级议题"
    assert act(filled, lamp, "restore", 409)["detail"] == f"id：议题 {lamp} 没有合并或搁置，无须恢复"
    assert act(filled, lamp, "rename", 422, name=" ")["detail"].startswith("name：")
    assert act(filled, lamp, "rename", 422, name="路灯", actor="")["detail"].startswith("actor：")
    act(filled, fumes, "merge", into=lamp)
    assert act(filled, fumes, "dismiss", 409)["detail"] == f"id：议题 {fumes} 已并入其他议题，请先恢复"
    detail = f"into：议题 {fumes} 应为未合并、未搁置的同级议题"
    assert act(filled, lamp, "merge", 409, into=fumes)["detail"] == detail  # no circles


# Candidates


@dataclass(frozen=True)
class Standing:
    state: str
    lead_unit: str | None = None
    adoption: str | None = None
    satisfaction: str | None = None


def test_a_score_is_the_mean_of_parts_that_say_what_they_stand_on(filled: TestClient) -> None:
    found = get(filled, "/v1/topics/candidates")
    lamp, fumes = found["candidates"]
    assert (lamp["rising"], fumes["rising"]) == (True, False)
    parts = {p["name"]: p for p in lamp["parts"]}
    known = [p for p in lamp["parts"] if p["value"] is not None]
    mean = sum(p["weight"] * p["value"] for p in known) / sum(p["weight"] for p in known)
    assert lamp["score"] == pytest.approx(mean, abs=1e-5)
    assert parts["breadth"]["note"] == "涉及 3 个区县"
    assert parts["unresolved"] == {"name": "unresolved", "label": "未办结", "weight": 0.1, "value": None,
                                   "note": "没有足够的办理记录"}  # fmt: skip
    assert parts["novelty"]["note"] == "未导入以往课题与提案，无从查新"
    assert parts["rise"]["note"] == "近 30 天 16 人，此前一年 0 人，从无到有，超出偶然（q<0.001）"
    assert "近 30 天明显上升（16 人）" in lamp["reason"]
    assert lamp["reason"].endswith("尚未查新。")
    assert set(lamp["submissions"]) == {f"lamp-{i}" for i in range(16)}
    gaps = {gap["theme"]: gap["count"] for gap in found["gaps"]}
    assert gaps["强旅游"] == 0


@pytest.mark.both_engines
def test_handling_counts_where_it_is_known(filled: TestClient) -> None:
    own: Topics = filled.app.state.topics  # type: ignore[attr-defined]

    def standings(numbers: Sequence[int]) -> Mapping[int, Standing]:
        states = ("办理中", "已办结")
        adoption = (None, "未采用", "采用 市级")
        return {n: Standing(states[n % 2], "城管局", adoption[n % 3], "不满意" if n % 4 else "满意") for n in numbers}

    own.standings = standings
    [lamp, *_] = get(filled, "/v1/topics/candidates")["candidates"]
    parts = {p["name"]: p for p in lamp["parts"]}
    assert (parts["unresolved"]["value"], parts["unresolved"]["note"]) == (0.5, "有记录的 16 件中 8 件未办结")
    assert parts["dissatisfied"]["value"] == 0.75
    closed = [n for n in lamp["numbers"] if n % 2]
    assert parts["unadopted"]["value"] == pytest.approx(sum(n % 3 != 2 for n in closed) / len(closed), abs=1e-6)
    own.standings = lambda numbers: {n: Standing("待审核") for n in numbers}  # nobody records handling
    [again, *_] = get(filled, "/v1/topics/candidates")["candidates"]
    assert {p["value"] for p in again["parts"] if p["name"] in {"unresolved", "unadopted"}} == {None}


def test_what_no_office_file_can_hold_is_left_out_of_it(filled: TestClient) -> None:
    own = filled.app.state.topics  # type: ignore[attr-defined]
    odd = Work("research", KINDS["lamp"][:9] + "\x0b", KINDS["lamp"], None, None)
    assert list(own.works.add(own.engine, [odd], "t")) == ["new"]
    for format in ("xlsx", "docx"):
        assert filled.get("/v1/topics/candidates", params={"format": format}).status_code == 200
    book = load_workbook(io.BytesIO(filled.get("/v1/topics/candidates", params={"format": "xlsx"}).content))
    assert [row[3].value for row in book["此前已研究"].iter_rows(min_row=2)] == [KINDS["lamp"][:9]]


@pytest.mark.both_engines
def test_past_research_takes_a_topic_off_the_list_and_tasks_add_to_it(filled: TestClient) -> None:
    own: Topics = filled.app.state.topics  # type: ignore[attr-defined]
    lamp = Work("research", KINDS["lamp"][:9], KINDS["lamp"], None, "已结题")
    task = Work("priority", KINDS["fumes"][:9], KINDS["fumes"], 2024)
    other = Work("priority", "别年的任务", KINDS["lamp"], 2023)
    assert list(own.works.add(own.engine, [lamp, task, other], "t")) == ["new"] * 3
    assert list(own.works.add(own.engine, [lamp], "t")) == ["unchanged"]
    assert list(own.works.add(own.engine, [Work(**{**lamp.__dict__, "status": "结题"})], "t")) == ["revised"]
    found = get(filled, "/v1/topics/candidates")
    [fumes] = found["candidates"]
    [studied] = found["studied"]
    assert studied["studied"][0] | {"score": 1} == {"title": lamp.title, "year": None, "status": "结题", "score": 1}
    assert f"已有“{lamp.title}”（年份不详，结题）" in studied["reason"]
    assert fumes["reason"].endswith("以往课题与提案中没有同类。")
    assert [p["title"] for p in fumes["priorities"]] == [task.title]
    assert studied["priorities"] == []
    act(filled, studied["topic"], "pin")  # a researcher wants it all the same
    assert [c["topic"] for c in get(filled, "/v1/topics/candidates")["candidates"]] == [
        studied["topic"],
        fumes["topic"],
    ]
    checked = filled.post("/v1/topics/check", json={"title": lamp.title, "text": KINDS["lamp"]}).json()
    assert checked["verdict"].startswith(f"已有同类研究“{lamp.title}”（年份不详，结题）")
    assert checked["topics"][0]["topic"] == studied["topic"]
    assert checked["similar"][0]["external_id"].startswith("lamp-")


def test_files_hold_what_the_list_holds_and_no_formula(filled: TestClient) -> None:
    lamp = concrete(filled)[0]["id"]
    act(filled, lamp, "rename", name="=路灯")
    found = get(filled, "/v1/topics/candidates")
    answer = filled.get("/v1/topics/candidates", params={"format": "xlsx"})
    book = load_workbook(io.BytesIO(answer.content))
    rows = list(book["选题建议"].iter_rows(values_only=True))
    assert rows[0][:5] == ("序号", "议题编号", "建议选题", "得分", "理由")
    assert [row[1] for row in rows[1:]] == [c["topic"] for c in found["candidates"]]
    assert "'=路灯" in [row[2] for row in rows[1:]]
    assert rows[1][-1].split("、") == found["candidates"][0]["submissions"]
    assert book.sheetnames == ["选题建议", "此前已研究", "薄弱主题", "说明"]
    answer = filled.get("/v1/topics/candidates", params={"format": "docx"})
    page = Document(io.BytesIO(answer.content))
    grid = [[cell.text for cell in row.cells] for row in page.tables[0].rows]
    assert grid[0] == ["序号", "建议选题", "得分", "理由", "各项得分", "依据材料"]
    assert [row[1] for row in grid[1:]] == [c["name"] for c in found["candidates"]]
    assert "attachment" in answer.headers["content-disposition"]


# Works from files


def test_rows_of_works_are_read_and_bad_ones_named() -> None:
    mapping = guess_columns(["课题名称", "年份", "摘要", "状态"], {}, *COLUMNS)
    assert mapping == {"title": "课题名称", "abstract": "摘要", "year": "年份", "status": "状态"}
    row = Row(2, {"课题名称": "路灯管护研究", "年份": 2023.0, "摘要": "", "状态": "结题"})
    assert to_work(row, mapping, "research", 100) == Work("research", "路灯管护研究", "", 2023, "结题")
    for year, expected in (("2023年", 2023), ("2023-05-01", 2023), ("", None), (None, None)):
        assert to_work(Row(2, {**row.cells, "年份": year}), mapping, "research", 100).year == expected
    for cells, message in (
        ({"年份": "去年"}, "year：年份无法识别：'去年'，应如 2025"),
        ({"年份": "1066"}, "year：年份无法识别：'1066'，应如 2025"),
        ({"课题名称": " "}, "title：内容为空"),
    ):
        with pytest.raises(Exception, match=message):
            to_work(Row(2, {**row.cells, **cells}), mapping, "research", 100)
    with pytest.raises(Exception, match="不是有效的 JSON"):
        to_work(Row(2, {}, "不是有效的 JSON"), mapping, "research", 100)


def test_columns_that_cannot_be_found_are_named() -> None:
    with pytest.raises(IntakeError, match="找不到标题所在的列，请用 --map title=列名 指定；文件的列为：甲、乙"):
        guess_columns(["甲", "乙"], {}, *COLUMNS)
    with pytest.raises(IntakeError, match="'丙' 不在文件中"):
        guess_columns(["甲"], {"title": "丙"}, *COLUMNS)
    with pytest.raises(IntakeError, match="字段 'text' 不存在"):
        guess_columns(["甲"], {"text": "甲"}, *COLUMNS)


# Statistics


def test_figures_of_a_month_with_those_it_is_compared_with(filled: TestClient) -> None:
    found = get(filled, "/v1/statistics", month="2024-12")
    assert (found["period"]["from"], found["period"]["to"]) == ("2024-12-01", "2024-12-31")
    assert {k: found["period"][k] for k in ("submissions", "distinct", "voices")} == {
        "submissions": 18, "distinct": 18, "voices": 18,
    }  # fmt: skip
    assert (found["before"]["submissions"], found["year_before"]["submissions"]) == (2, 0)
    assert found["change"] == {"before": 8.0, "year_before": None}
    table = found["tables"]["theme_month"]
    assert table["columns"] == [f"2024-{m:02}" for m in range(1, 13)]
    assert sum(map(sum, table["counts"])) == 42
    assert sum(map(sum, found["tables"]["district_theme"]["counts"])) == 18
    assert "没有办理记录，单位、采用与满意度无从统计。" in found["notes"]
    cut = get(filled, "/v1/statistics", month="2024-12", cut_off=10)["period"]
    assert (cut["from"], cut["to"], cut["submissions"]) == ("2024-11-11", "2024-12-10", 5)
    own = get(filled, "/v1/statistics", **{"from": "2024-12-08", "to": "2024-12-09"})
    assert (own["period"]["submissions"], own["before"]["from"], own["before"]["to"]) == (2, "2024-12-06", "2024-12-07")


@pytest.fixture
def clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The time of the service, to be set."""
    clock = {"now": "2025-01-05T00:00:00+00:00"}
    for module in ("service.store", "service.cases", "service.statistics", "service.topics"):
        monkeypatch.setattr(f"{module}.now", lambda: clock["now"])
    monkeypatch.setattr(store, "now", lambda: clock["now"])
    return clock


def step(client: TestClient, number: int, kind: str, **fields: Any) -> None:
    answer = client.post(f"/v1/submissions/{number}/events", json={"kind": kind, **SIGNED, **fields})
    assert answer.status_code == 200, answer.text


def edit(client: TestClient, number: int, **fields: Any) -> None:
    match = {"If-Match": client.get(f"/v1/submissions/{number}").headers["etag"]}
    answer = client.patch(f"/v1/submissions/{number}", json={**SIGNED, **fields}, headers=match)
    assert answer.status_code == 200, answer.text


@pytest.mark.both_engines
def test_a_filed_report_comes_out_again_after_more_was_done(client: TestClient, clock: dict[str, str]) -> None:
    first, second, third, _ = post(client, *items("lamp", ["2024-12-01"] * 4))
    edit(client, third, district="清镇市", submitter={"phone": "13800001111"})
    edit(client, second, submitter={"phone": "13800001111"})
    step(client, first, "routed", unit="市综合行政执法局")
    step(client, first, "adopted", level="市")
    step(client, second, "answered", reply="已修复")
    step(client, second, "closed", result="解决")
    step(client, second, "rated", rating="不满意")
    filed = get(client, "/v1/statistics", month="2024-12")
    assert [(d["month"], d["submissions"], d["outside"]) for d in filed["drift"]] == [("2024-12", 4, False)]
    assert [d["month"] for d in filed["unknown_words"]] == ["2024-12"]
    filed |= {"drift": None, "unknown_words": None}  # of now only: no filed report holds them
    assert filed["tables"]["unit_state"] == {
        "rows": ["市综合行政执法局", "未定"], "columns": ["已办结", "已转办"], "counts": [[0, 1], [1, 0]],
    }  # fmt: skip
    assert filed["adoption"] == {"市": 1, "不详": 1}
    assert filed["satisfaction"] == {"不满意": 1, "不详": 1}
    assert filed["period"]["voices"] == 3
    assert "清镇市" in filed["tables"]["district_theme"]["rows"]
    clock["now"] = "2025-02-01T00:00:00+00:00"
    step(client, first, "routed", unit="市住房和城乡建设局")
    step(client, first, "adopted", level="省")
    step(client, second, "rated", rating="满意")
    step(client, third, "kept")
    edit(client, third, district="开阳县", submitter={"phone": "13800002222"}, received_at="2024-11-30")
    later = get(client, "/v1/statistics", month="2024-12")
    for name in ("tables", "adoption", "satisfaction", "period"):
        assert later[name] != filed[name], name
    assert get(client, "/v1/statistics", month="2024-12", as_of=filed["as_of"]) == filed


def test_a_filed_report_comes_out_again_after_corrections(client: TestClient, clock: dict[str, str]) -> None:
    numbers = post(client, *items("lamp", ["2024-12-01"] * 4))
    filed = get(client, "/v1/statistics", month="2024-12")
    clock["now"] = "2025-02-01T00:00:00+00:00"
    client.post("/v1/cases", json={"lead": numbers[0], "members": numbers[:2], **SIGNED}).raise_for_status()
    post(
        client, {**items("fumes", ["2024-12-02"])[0], "external_id": "lamp-3"}, *items("lamp", ["2024-12-03"], start=9)
    )
    later = get(client, "/v1/statistics", month="2024-12")
    assert (later["period"]["submissions"], later["period"]["distinct"]) == (5, 4)
    assert later["tables"]["matter_month"] != filed["tables"]["matter_month"]
    again = get(client, "/v1/statistics", month="2024-12", as_of=filed["as_of"])
    assert again == filed | {"drift": None, "unknown_words": None}


def test_what_people_decide_and_take_back_counts_from_then_on(client: TestClient, store: Store) -> None:
    numbers = post(client, *items("lamp", ["2024-12-01"] * 4))
    with store.writing() as connection:
        decided = {"theme": "tourism", "matter": "heritage", "before": {"theme": "urban", "matter": "roads_municipal"}}
        store.record(connection, numbers[0], "corrected", "王芳", decided)
        store.record(connection, numbers[0], "analysed", "machine", {"primary": "urban", "matter": "roads_municipal"})
        store.record(connection, numbers[1], "withdrawn", "王芳", {"reason": "误报"})
        store.record(connection, numbers[2], "withdrawn", "王芳", {"reason": "误报"})
        store.record(connection, numbers[2], "restored", "王芳", {"reason": "误撤"})
    found = get(client, "/v1/statistics", month="2024-12")
    assert found["period"]["submissions"] == 3
    assert found["tables"]["theme_month"]["rows"] == ["强城镇", "强旅游"]
    assert concrete(client)[0]["size"] == 3


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"month": "去年五月"}, "month：月份无法识别：'去年五月'，应如 2024-05"),
        ({"month": "2024-05", "from": "2024-05-01", "to": "2024-05-02"}, "month：month 与 from、to 不能同时给出"),
        ({"from": "2024-05-01"}, "to：from 与 to 须同时给出"),
        ({"from": "2024-05-03", "to": "2024-05-02"}, "to：不能早于 from（2024-05-03）"),
        ({"from": "x", "to": "2024-05-02"}, "from：日期无法识别：'x'，应如 2024-05-31"),
        ({"month": "9999-12"}, "month：年份 9999 超出范围"),
    ],
)
def test_periods_that_make_no_sense_are_refused(client: TestClient, query: dict[str, str], detail: str) -> None:
    answer = client.get("/v1/statistics", params=query)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_a_leap_day_has_a_year_before() -> None:
    period = figures.read_period(None, "2024-02-29", "2024-02-29", None, figures.date(2024, 1, 1))
    assert period.year_before().first == figures.date(2023, 2, 28)


# Commands


def test_commands_list_name_and_export(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "留言.jsonl"
    batch = items("lamp", ["2024-12-01"] * 8)
    rows = [{**{k: v for k, v in i.items() if k != "submitter"}, "phone": i["submitter"]["phone"]} for i in batch]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert run("import", path)[0] == 0
    found = json.loads(run("topics", "--format", "json")[1])
    number = next(t["id"] for t in found["topics"] if t["level"] == "concrete")
    signed = ("--actor", "王芳", "--reason", "试用")
    assert json.loads(run("topics", "rename", number, "路灯失修", *signed)[1])["events"][-1]["kind"] == "renamed"
    for step in (("pin", number), ("pin", number, "--off"), ("dismiss", number), ("restore", number)):
        assert run("topics", *step, *signed)[0] == 0, step
    assert run("topics", "merge", number, number, *signed)[0] == 2
    assert json.loads(run("topics", "regroup", *signed)[1]) == {"regrouped": 8}
    assert len(json.loads(run("topics", "history", number)[1])["events"]) == 6
    code, out, err = run("topics")
    assert code == 0
    assert f"{number}  路灯失修  8 件，8 人，样本不足" in out
    assert "截至 2024-12-01：8 件，0 件零散。" in err
    assert "路灯失修" in run("topics", "candidates")[1]
    assert run("topics", "candidates", "--format", "docx")[0] == 2
    target = tmp_path / "选题.docx"
    assert run("topics", "candidates", "--format", "docx", "--out", target)[0] == 0
    assert Document(str(target)).tables

    works = tmp_path / "课题.csv"
    works.write_text(f"题目,摘要,年份\n路灯,{KINDS['lamp']},2023\n,空的,2023\n怪,怪,去年\n", encoding="utf-8")
    code, out, err = run("import", works, "--as", "research")
    assert (code, json.loads(out)) == (1, {"read": 3, "new": 1, "revised": 0, "unchanged": 0, "rejected": 2})
    assert "第 3 行未导入：title：" in err
    assert "第 4 行未导入：year：年份无法识别" in err
    assert "此前已研究：路灯失修（路灯）" in run("topics", "candidates")[1]
    code, out, _ = run("topics", "check", KINDS["lamp"])
    assert out.startswith("已有同类研究“路灯”（2023，状态不详）")


# The record


@pytest.mark.both_engines
def test_every_table_belongs_to_an_office_and_state_follows_from_steps(
    filled: TestClient, models: Models, store: Store
) -> None:
    get(filled, "/v1/topics")
    other = Store(store.url, "another")
    engine = Engine(models, 1)
    assert Topics(engine, other).refresh() == 0
    assert Topics(engine, other).rows() == {}
    with store.reading() as connection:
        assert set(connection.execute(sa.select(topics.c.office_id)).scalars()) == {store.office_id}
        assert connection.execute(sa.select(sa.func.count()).select_from(topic_members)).scalar_one() == 42
    assert Topics(engine, store).refresh() == 0  # nothing is new, whoever asks
    engine.close()
    other.close()
