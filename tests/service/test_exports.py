from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openpyxl import load_workbook

from nlp.taxonomy import Taxonomy
from service import exports
from service.cases import Cases
from service.exports import LEDGER, table, write
from service.lifecycle import Lifecycle
from service.search import Filters
from service.steps import Standing
from service.store import Analysis, Store, Submission, Submitter
from tests.service.test_store import ENCODER, analysis

COLUMNS = (
    "编号 收到日期 来源 反映人/单位 界别 联系电话 标题 摘要 主题 诉求类型 区（市、县） 并案编号 主办 协办 转办日期 办理时限 状态 办理结果 "
    "采用情况/期号 批示 满意度 经办人 审核人 备注"
).split()


def _analysis(**result: Any) -> Analysis:
    made = analysis()
    return Analysis(**{**made.__dict__, "result": {"primary": "urban", "matter": "roads_municipal", **result}})


@pytest.fixture
def filled(store: Store) -> Store:
    long = "开头的客套话。" + "甲" * 60 + "。" + "路灯坏了没人修，电话13812345678。" + "乙" * 60 + "。"
    at = long.index("路灯")
    evidence = [
        {"field": "text", "start": at, "end": at + 22, "weight": 2.0},
        {"field": "text", "start": 0, "end": 7, "weight": 1.0},
    ]
    pii = [{"field": "text", "start": at + 10, "end": at + 21}]
    given = [
        (Submission("12345", "WO-1", long, "=cmd()", "2024-05-06T23:30:00+00:00", "云岩区", None, Submitter("张三丰", "13812345678")), _analysis(evidence=evidence, pii=pii)),
        (Submission("会议", "WO-2", "井盖\x0b松动", "井盖", None, None, None, Submitter("市某协会", kind="单位", sector="经济")), _analysis()),
        (Submission("会议", "WO-3", "井盖松动", "+井盖", "2024-05-08T00:00:00+08:00"), analysis("ecology")),
    ]  # fmt: skip
    store.add(given, ENCODER, "t")
    Cases(store).merge(2, [2, 3], "王芳", "同一处")
    return store


def _rows(store: Store, taxonomy: Taxonomy, **asked: Any) -> list[Any]:
    options: dict[str, Any] = {"standing": _unknown, "ledger": True, **asked}
    filters = options.pop("filters", Filters())
    return list(table(store, filters, taxonomy, options["standing"], ledger=options["ledger"]).rows)


def _unknown(numbers: Any) -> dict[int, Standing]:
    return {}


def _standing(numbers: Any) -> dict[int, Standing]:
    known = {
        1: Standing(
            "办理中", "2024-001", None, "市住建局", ("云岩区政府", "市城管局"), "2024-05-07T10:00:00+08:00", "2024-05-22", handler="王芳"
        ),
        2: Standing("待审核"),
    }  # fmt: skip
    return {n: known[n] for n in numbers if n in known}


def test_the_ledger_has_the_columns_that_officials_expect(filled: Store, taxonomy: Taxonomy) -> None:
    assert list(LEDGER) == COLUMNS
    first, second, third = _rows(filled, taxonomy)
    assert list(first) == COLUMNS
    assert first["编号"] == "WO-1"
    assert first["收到日期"].isoformat() == "2024-05-07"  # half past seven in the morning, in China
    assert (first["反映人/单位"], first["联系电话"]) == ("张**", "*******5678")
    assert (first["主题"], first["诉求类型"]) == ("强城镇", taxonomy.matter_by_id["roads_municipal"].name)
    assert first["摘要"] == "开头的客套话。……路灯坏了没人修，电话***********。"
    assert (second["反映人/单位"], second["摘要"], second["并案编号"]) == ("市某协会", "井盖\x0b松动", 1)
    assert (third["主题"], third["收到日期"].isoformat()) == ("强生态", "2024-05-08")
    assert all(first[column] is None for column in COLUMNS[12:])  # nothing is known of its handling


def test_the_ledger_with_the_life_cycle(filled: Store, taxonomy: Taxonomy) -> None:
    first, second, third = _rows(filled, taxonomy, standing=_standing)
    assert (first["编号"], first["主办"], first["协办"], first["状态"]) == (
        "2024-001",
        "市住建局",
        "云岩区政府、市城管局",
        "办理中",
    )
    assert (first["转办日期"].isoformat(), first["办理时限"].isoformat()) == ("2024-05-07", "2024-05-22")
    assert (second["编号"], second["状态"], third["状态"]) == ("WO-2", "待审核", None)
    Lifecycle(filled).step(2, "kept", "王芳", "待查")
    for state, numbers in (("留存", ["WO-2"]), ("待审核", ["2024-001", "WO-3"]), ("已办结", [])):
        rows = _rows(filled, taxonomy, standing=_standing, filters=Filters(state=state))
        assert [row["编号"] for row in rows] == numbers


def test_the_filters_of_a_search(filled: Store, taxonomy: Taxonomy) -> None:
    assert [r["external_id"] for r in _rows(filled, taxonomy, ledger=False, filters=Filters(source="会议"))] == [
        "WO-2",
        "WO-3",
    ]
    assert [r["编号"] for r in _rows(filled, taxonomy, filters=Filters(theme="ecology", in_case=True))] == ["WO-3"]


def test_the_workbook_looks_like_a_ledger(filled: Store, taxonomy: Taxonomy) -> None:
    target = io.BytesIO()
    write(target, "xlsx", table(filled, Filters(), taxonomy, _standing, ledger=True))
    sheet = load_workbook(target).worksheets[0]
    assert (sheet.title, sheet.freeze_panes) == ("台账", "A2")
    assert [cell.value for cell in sheet[1]] == COLUMNS
    assert sheet["A1"].font.bold
    assert sheet.column_dimensions["H"].width == LEDGER["摘要"]
    assert sheet["B2"].value == datetime(2024, 5, 7)  # noqa: DTZ001
    assert sheet["B2"].number_format == "yyyy-mm-dd"
    assert sheet["H2"].alignment.wrap_text
    assert sheet["G2"].value == "'=cmd()"  # no formula
    assert sheet["H3"].value == "井盖\N{REPLACEMENT CHARACTER}松动"  # a character that no workbook may hold


def test_csv_and_json_lines(filled: Store, taxonomy: Taxonomy) -> None:
    target = io.BytesIO()
    write(target, "csv", table(filled, Filters(), taxonomy, _unknown, ledger=True))
    text = target.getvalue().decode()
    assert text.startswith("\ufeff编号,")
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))
    assert [(r["标题"], r["收到日期"]) for r in rows] == [
        ("'=cmd()", "2024-05-07"),
        ("井盖", ""),
        ("'+井盖", "2024-05-08"),
    ]
    lines = io.BytesIO()
    write(lines, "jsonl", table(filled, Filters(), taxonomy, _unknown, ledger=True))
    assert json.loads(lines.getvalue().splitlines()[0])["收到日期"] == "2024-05-07"


def test_a_long_text_without_evidence_is_cut(store: Store, taxonomy: Taxonomy) -> None:
    store.add([(Submission("s", "1", "字" * 200), _analysis())], ENCODER, "t")
    assert _rows(store, taxonomy)[0]["摘要"] == "字" * 99 + "…"


def test_more_than_a_page_is_exported_in_order(
    store: Store, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_PAGE", 2)
    store.add([(Submission("s", str(n), "路灯"), analysis()) for n in range(5)], ENCODER, "t")
    assert [r["external_id"] for r in _rows(store, taxonomy, ledger=False)] == list("01234")


@pytest.mark.parametrize("format", ["jsonl", "csv", "xlsx"])
def test_export_over_http(client: TestClient, filled: Store, format: str) -> None:
    response = client.get("/v1/export", params={"format": format, "ledger": "true"})
    assert response.status_code == 200
    assert response.headers["content-disposition"] == f"attachment; filename*=UTF-8''%E5%8F%B0%E8%B4%A6.{format}"
    assert b"13812345678" not in response.content
    if format == "xlsx":
        assert load_workbook(io.BytesIO(response.content)).worksheets[0].max_row == 4
    one = client.get("/v1/export", params={"source": "12345"})
    assert json.loads(one.text)["external_id"] == "WO-1"


@pytest.mark.parametrize(
    "asked", [{"theme": "nothing"}, {"state": "办好了"}, {"received_from": "昨天"}, {"format": "pdf"}]
)
def test_a_wrong_export_is_refused(client: TestClient, asked: dict[str, str]) -> None:
    assert client.get("/v1/export", params=asked).status_code == 422
