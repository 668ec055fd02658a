"""Bulletins, roster and results by HTTP and by command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from fastapi.testclient import TestClient
from openpyxl import load_workbook

from service import roster
from service.app import create_app
from service.engine import Models
from service.roster import Person
from service.settings import Settings
from service.store import Store
from tests.service.conftest import Run
from tests.service.test_app_lifecycle import LAMP, SIGNED, act

TEXT = {"title": "关于路灯的建议", "body": "路灯不亮。联系13812345678。", "recipients": ["市委"], "sources": [1, 2]}
PERIOD = {"from": "2026-01-01", "to": "2026-12-31"}


@pytest.fixture
def office(settings: Settings, models: Models, store: Store) -> Iterator[TestClient]:
    """A lamp of a 委员 (1) and fumes of a citizen (2)."""
    store.now = lambda: "2026-03-02T02:00:00+00:00"
    roster.keep(store, [Person("委员", "张三", "A1", sector="经济界", committee="经济委")], "王芳", "换届")
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as opened:
        items = [
            {"external_id": "A-1", "text": LAMP, "submitter": {"name": "张三", "kind": "委员"}},
            {
                "external_id": "A-2",
                "text": "楼下烧烤店油烟很大不敢开窗",
                "submitter": {"name": "李小红", "kind": "市民"},
            },
        ]
        assert opened.post("/v1/submissions", json={"items": items}).status_code == 200
        yield opened


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    response = client.post(f"/v1/bulletins{path}", json={**SIGNED, **body})
    assert response.status_code == status, response.text
    return response.json()


def test_a_bulletin_from_draft_to_adoption(office: TestClient) -> None:
    made = post(office, "", 201, **TEXT)
    assert (made["id"], made["series"], made["state"], made["version"], made["issue"]) == (
        1,
        "社情民意信息",
        "草稿",
        1,
        None,
    )
    [found] = made["pii"]
    assert (found["field"], found["label"], TEXT["body"][found["start"] : found["end"]]) == (
        "body",
        "MOBILE",
        "13812345678",
    )
    saved = post(office, "/1/versions", **{**TEXT, "body": "路灯不亮。建议修复。"}, base=1)
    assert (saved["version"], saved["pii"]) == (2, [])
    assert post(office, "/1/versions", 409, **TEXT, base=1)["errors"] == [{"field": "base", "type": "conflict"}]
    changes = office.get("/v1/bulletins/1/diff", params={"a": 1, "b": 2}).json()["changes"]
    assert {"field": "body", "op": "added", "text": "建议修复。"} in changes
    assert office.get("/v1/bulletins/1/versions/1").json()["body"] == TEXT["body"]
    assert office.get("/v1/bulletins/1/versions/7").status_code == 404
    issued = post(office, "/1/issue", base=2)
    assert (issued["state"], issued["issue"], issued["issued_on"]) == ("已编发", "2026年第1期", "2026-03-02")
    assert post(office, "/1/adoption", level="省") == {"id": 1, "applied": [1, 2]}
    timeline = office.get("/v1/submissions/2").json()["timeline"]
    assert [one["what"] for one in timeline[-2:]] == [
        "编发：社情民意信息2026年第1期", "采用：省 综合 社情民意信息2026年第1期",
    ]  # fmt: skip
    assert post(office, "/1/adoption/undo", event=timeline[-1]["id"]) == {"id": 1, "applied": [1, 2]}
    assert office.get("/v1/submissions/1").json()["standing"]["adoption"] is None
    response = office.get("/v1/bulletins/1/docx")
    assert "%E7%A4%BE" in response.headers["content-disposition"]
    assert "李**" in "".join(p.text for p in Document(io.BytesIO(response.content)).paragraphs)
    assert post(office, "/1/withdraw")["state"] == "已撤回"
    page = office.get("/v1/bulletins", params={"state": "已撤回", "limit": 1}).json()
    assert ([one["id"] for one in page["items"]], page["next"]) == ([1], 1)
    assert "body" not in page["items"][0]
    assert [e["kind"] for e in office.get("/v1/bulletins/1").json()["events"]] == [
        "created", "saved", "issued", "adopted", "retracted", "withdrawn",
    ]  # fmt: skip


def test_a_bad_bulletin_is_a_problem_and_nothing_is_stored(office: TestClient) -> None:
    assert "没有编号为 9 的材料" in post(office, "", 404, **{**TEXT, "sources": [9]})["detail"]
    assert post(office, "", 422, **{**TEXT, "sources": []})["errors"][0]["field"] == "sources"
    assert post(office, "", 422, **{**TEXT, "sources": ["x"]})["errors"]
    assert post(office, "", 422, **{**TEXT, "title": ""})["errors"][0]["field"] == "title"
    assert post(office, "", 422, **TEXT, colour="red")["errors"]
    assert office.get("/v1/bulletins").json() == {"items": [], "next": None}
    assert post(office, "/1/issue", 404, base=1)["type"] == "urn:minsheng:problem:not-found"


def test_the_report_and_the_members(office: TestClient) -> None:
    assert act(office, "adopted", level="省", form="单篇").status_code == 200
    told = office.get("/v1/results/report", params=PERIOD)
    assert told.status_code == 200, told.text
    body = told.json()
    assert (body["scope"]["from"], body["scope"]["as_of"]) == ("2026-01-01", "2026-03-02T02:00:00+00:00")
    assert body["totals"] == {
        "submitted": 2, "accepted": 1, "issued": 0, "instructed": 0, "implemented": 0,
        "adopted": {"全国": 0, "省": 1, "市": 0, "区（市、县）": 0},
    }  # fmt: skip
    [place] = body["rankings"]["member"]
    assert (place["rank"], place["name"], place["points"], place["member"]) == (1, "张三", 16.0, 1)
    [one] = office.get("/v1/results/members", params=PERIOD).json()["items"]
    assert one["member"]["committee"] == "经济委"
    assert [(e["kind"], e["number"], e["points"]) for e in one["entries"]] == [
        ("received", "2026-000001", 1.0), ("adopted", "2026-000001", 15.0),
    ]  # fmt: skip
    [row] = office.get("/v1/roster").json()["items"]
    assert (row["id"], row["name"], row["code"]) == (1, "张三", "A1")
    for path, format in (("report", "xlsx"), ("report", "docx"), ("members", "xlsx")):
        response = office.get(f"/v1/results/{path}", params={**PERIOD, "format": format})
        assert response.status_code == 200
        assert response.content[:2] == b"PK"
        assert response.headers["content-disposition"].endswith(f".{format}")


def test_bad_scopes_are_problems(office: TestClient, store: Store) -> None:
    def refused(**query: str) -> tuple[int, str]:
        response = office.get("/v1/results/report", params={**PERIOD, **query})
        return response.status_code, response.json()["type"].removeprefix("urn:minsheng:problem:")

    assert refused(to="2025-01-01") == (422, "invalid-item")
    assert refused(as_of="2027-01-01") == (422, "invalid-item")
    assert refused(term="九届") == (422, "invalid-item")
    assert refused(format="pdf") == (422, "invalid-request")
    assert refused(as_of="2020-01-01") == (409, "roster")
    items = [{"text": LAMP, "received_at": "2001-02-03", "submitter": {"name": "张三", "kind": "委员"}}]
    assert office.post("/v1/submissions", json={"items": items}).status_code == 200
    assert refused(**{"from": "2001-01-01"}) == (409, "points-missing")


def test_a_table_that_is_wrong_is_said_not_guessed(
    settings: Settings, models: Models, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "points.tsv").write_text("kind\n", encoding="utf-8")
    own = settings.model_copy(update={"corpora": tmp_path})
    with TestClient(create_app(own, models, store), base_url="http://127.0.0.1:8000") as opened:
        response = opened.get("/v1/results/report", params=PERIOD)
    assert (response.status_code, response.json()["type"]) == (503, "urn:minsheng:problem:data-unavailable")
    assert "points.tsv 第 1 行：表头应为 valid_from、" in response.json()["detail"]


# By command

WHO = ("--actor", "王芳", "--reason", "试行")
SPAN = ("--from", "2026-01-01", "--to", "2026-12-31")


@pytest.fixture
def stored(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("service.store.now", lambda: "2026-03-02T02:00:00+00:00")
    path = tmp_path / "来稿.csv"
    path.write_text(
        f"编号,反映人,界别,反映人类型,收到日期,内容\nB-1,张三,经济界,委员,2026-02-01,{LAMP}\nB-2,,,,,楼下烧烤店油烟很大\n",
        encoding="utf-8",
    )
    assert run("import", path)[0] == 0
    path = tmp_path / "名册.csv"
    path.write_text("姓名,界别,编号\n张三,经济界,A1\n李四,教育界,A2\n", encoding="utf-8")
    code, out, _ = run("roster", "import", path, *WHO, "--term", "十四届")
    assert (code, json.loads(out)) == (0, {"new": 2, "revised": 0, "unchanged": 0, "ended": 0})
    return run


def test_the_roster_by_command(stored: Run, tmp_path: Path) -> None:
    assert stored("roster", "list")[1].splitlines()[0] == "1  十四届  委员  张三  A1  经济界  —"
    assert json.loads(stored("roster", "list", "--format", "json")[1].splitlines()[1])["name"] == "李四"
    bad = tmp_path / "坏.csv"
    bad.write_text("姓名,界别\n王五,\n王五,\n赵六,甲\n", encoding="utf-8")
    code, _, err = stored("roster", "import", bad, *WHO)
    assert code == 2
    assert "错误：名册没有导入：第 2 行：name：与第 3 行同名“王五”" in err
    assert "赵六" not in stored("roster", "list")[1]


def test_people_are_imported_as_other_things_are(stored: Run, tmp_path: Path) -> None:
    rejects, path = tmp_path / "退件.csv", tmp_path / "增补.csv"
    path.write_text("委员,界 别\n张三,教育界\n赵六,教育界\n王五,\n王五,\n,农业界\n", encoding="utf-8")
    given = ("--as", "roster", "--term", "十四届")
    code, _, err = stored("import", path, *given)
    assert (code, "--map name=列名" in err) == (2, True)
    code, out, err = stored("import", path, *given, "--map", "name=委员", "--rejects", rejects)
    assert (code, json.loads(out)) == (1, {"read": 5, "new": 2, "revised": 0, "unchanged": 0, "rejected": 3})
    assert err.splitlines() == [
        "第 4 行未导入：name：与第 5 行同名“王五”，编号与界别都分不开，请补编号或界别",
        "第 5 行未导入：name：与第 4 行同名“王五”，编号与界别都分不开，请补编号或界别",
        "第 6 行未导入：name：内容为空",
    ]
    # Another sector is another 张三.
    names = [line.split("  ")[3] for line in stored("roster", "list")[1].splitlines()]
    assert names == ["张三", "李四", "张三", "赵六"]
    sent_back = list(csv.DictReader(rejects.read_text(encoding="utf-8-sig").splitlines()))
    with rejects.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(sent_back[0]))
        writer.writeheader()
        writer.writerows(row | {"界 别": sector} for row, sector in zip(sent_back, "甲乙丙", strict=True))
    code, out, _ = stored("import", rejects, *given, "--map", "name=委员")
    assert (code, json.loads(out)["new"]) == (1, 2)
    assert "--term 只用于名册" in stored("import", path, "--term", "十四届")[2]


def test_bulletins_by_command(stored: Run, tmp_path: Path) -> None:
    body, again, out = tmp_path / "正文.txt", tmp_path / "二稿.txt", tmp_path / "编发.docx"
    body.write_text("路灯不亮。建议修复。", encoding="utf-8")
    again.write_text("路灯不亮。建议立即修复。", encoding="utf-8")
    given = ("--title", "关于路灯的建议", "--source", 1, "--source", 2, "--to", "市委")
    assert json.loads(stored("bulletins", "create", "--body", body, *given, *WHO)[1])["state"] == "草稿"
    assert json.loads(stored("bulletins", "save", 1, "--base", 1, "--body", again, *given, *WHO)[1])["version"] == 2
    assert stored("bulletins", "diff", 1, 1, 2)[1].splitlines()[2:4] == ["- 建议修复。", "+ 建议立即修复。"]
    assert json.loads(stored("bulletins", "issue", 1, "--base", 2, *WHO)[1])["issue"] == "2026年第1期"
    assert json.loads(stored("bulletins", "adopt", 1, "--level", "市", "--on", "2026-03-01", *WHO)[1])["applied"] == [
        1,
        2,
    ]
    event = json.loads(stored("events", 1, "--format", "json")[1].splitlines()[-1])["id"]
    assert json.loads(stored("bulletins", "unadopt", 1, "--event", event, *WHO)[1])["applied"] == [1, 2]
    assert json.loads(stored("bulletins", "show", 1)[1])["body"] == "路灯不亮。建议立即修复。"
    assert stored("bulletins", "docx", 1, "--out", out)[0] == 0
    assert Document(str(out)).paragraphs[0].text == "社情民意信息"
    assert json.loads(stored("bulletins", "withdraw", 1, *WHO)[1])["state"] == "已撤回"
    assert stored("bulletins", "list")[1] == "1  社情民意信息  2026年第1期  已撤回  关于路灯的建议\n"


def test_results_by_command(stored: Run, tmp_path: Path) -> None:
    assert stored("step", 1, "adopted", *WHO, "--level", "全国", "--form", "单篇", "--on", "2026-02-20")[0] == 0
    event = json.loads(stored("events", 1, "--format", "json")[1].splitlines()[-1])["id"]
    assert json.loads(stored("results", "report", *SPAN)[1])["rankings"]["member"][0]["points"] == 31.0
    for command, format in (("report", "xlsx"), ("report", "docx"), ("members", "xlsx")):
        out = tmp_path / f"{command}.{format}"
        assert stored("results", command, *SPAN, "--format", format, "--out", out) == (0, "", "")
        assert out.read_bytes()[:2] == b"PK"
    names = [row[2].value for row in load_workbook(tmp_path / "members.xlsx")["履职"].iter_rows(min_row=2)]
    assert names == ["张三", "李四"]
    out = tmp_path / "a.json"
    assert stored("results", "members", *SPAN, "--out", out)[0] == 0
    assert json.loads(out.read_text(encoding="utf-8"))["items"][0]["points"] == 31.0
    assert stored("step", 1, "retracted", *WHO, "--event", event)[0] == 0
    assert stored("step", 1, "credited", *WHO, "--person", 2)[0] == 0
    assert json.loads(stored("results", "report", *SPAN)[1])["rankings"]["member"][0]["name"] == "李四"
    assert stored("step", 1, "credited", *WHO, "--nobody")[0] == 0
    assert json.loads(stored("results", "report", *SPAN)[1])["rankings"]["member"][0]["points"] == 0
    code, _, err = stored("results", "report", *SPAN, "--format", "docx")
    assert (code, err) == (2, "错误：docx 不能写到标准输出，请用 --out 给出文件\n")
