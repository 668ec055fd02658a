from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.engine import Models
from service.lifecycle import Lifecycle
from service.settings import Settings
from service.store import Store
from tests.service.conftest import Run
from tests.service.test_cases import refused

LAMP = "小区门口的路灯坏了半个月没人修。"
SIGNED = {"actor": "王芳", "reason": "属其职责"}
UNIT = "云岩区人民政府"


@pytest.fixture
def office(settings: Settings, models: Models, store: Store) -> Iterator[TestClient]:
    """The service on Monday 2 March 2026, with a lamp (1) and fumes (2)."""
    store.now = lambda: "2026-03-02T02:00:00+00:00"
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as opened:
        items = [
            {
                "external_id": "A-1",
                "title": "路灯",
                "text": LAMP,
                "submitter": {"name": "张三", "phone": "13812345678"},
            },
            {"external_id": "A-2", "text": "楼下烧烤店油烟很大不敢开窗，电话13812345678"},
        ]
        assert opened.post("/v1/submissions", json={"items": items}).status_code == 200
        yield opened


def act(client: TestClient, kind: str, number: int = 1, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    body = {**SIGNED, "kind": kind, **fields}
    return client.post(f"/v1/submissions/{number}/events", json=body, headers=headers or {})


def detail(client: TestClient, number: int = 1) -> dict[str, Any]:
    return dict(client.get(f"/v1/submissions/{number}").json())


def test_a_step_answers_with_the_new_standing_and_its_version(office: TestClient, store: Store) -> None:
    response = act(office, "routed", unit=UNIT, support=["市水务管理局"], category="咨询")
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["id"], body["applied"], body["standing"]["state"], body["standing"]["due"]) == (
        1,
        [1],
        "已转办",
        "2026-03-09",
    )
    assert body["standing"]["number"] == "2026-000001"
    assert {"kind": "signed", "name": "签收"} in body["standing"]["possible"]
    shown = office.get("/v1/submissions/1")
    assert shown.headers["ETag"] == response.headers["ETag"]
    assert shown.json()["standing"] == body["standing"]
    [*_, last] = [event.id for event in Lifecycle(store).events(1)]
    assert shown.json()["timeline"][-1] == {
        "id": last, "at": "2026-03-02 10:00", "actor": "王芳", "kind": "routed", "reason": "属其职责",
        "what": f"转办至{UNIT}（协办：市水务管理局），办理时限 5 个工作日，至 2026-03-09",
    }  # fmt: skip


def test_an_illegal_step_is_a_conflict_that_says_what_is_possible(office: TestClient) -> None:
    response = act(office, "closed", result="已解决")
    assert response.status_code == 409
    body = response.json()
    assert body["type"] == "urn:minsheng:problem:conflict"
    assert "1 号材料现为“待审核”，不能“办结”；可以：登记 registered" in body["detail"]
    assert body["errors"][0]["state"] == "待审核"
    assert body["errors"][0]["possible"][:3] == ["registered", "kept", "returned"]


def test_bad_steps_name_the_field(office: TestClient) -> None:
    refused(act(office, "routed"), 422, "unit：“转办”需要这个字段", "unit")
    response = act(office, "flown")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "kind")
    response = act(office, "kept", colour="red")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "body.colour")
    refused(act(office, "kept", number=99), 404, "id：没有编号为 99 的材料", "id")
    assert office.post("/v1/submissions/1/events", json={"kind": "kept"}).status_code == 422


def test_a_calendar_that_ends_refuses_the_routing_and_names_the_year(office: TestClient, store: Store) -> None:
    store.now = lambda: "2026-12-28T02:00:00+00:00"
    response = act(office, "routed", unit=UNIT)
    assert (response.status_code, response.json()["type"]) == (409, "urn:minsheng:problem:calendar-ends")
    assert "没有 2027 年" in response.json()["detail"]
    assert detail(office)["standing"]["number"] is None


def test_if_match_guards_a_step_where_it_is_given(office: TestClient) -> None:
    seen = office.get("/v1/submissions/1").headers["ETag"]
    for header in ('"99999"', f"W/{seen}", '"abc"'):
        response = act(office, "kept", headers={"If-Match": header})
        assert (response.status_code, response.json()["type"]) == (412, "urn:minsheng:problem:stale"), header
    assert act(office, "kept", headers={"If-Match": f'"99999", {seen}'}).status_code == 200
    refused_now = act(office, "kept", headers={"If-Match": seen})
    assert refused_now.status_code == 412
    assert "1 号材料已有新的变动" in refused_now.json()["detail"]
    assert act(office, "archived", headers={"If-Match": "*"}).status_code == 200


def test_patch_needs_if_match_and_records_the_names_of_fields(office: TestClient, store: Store) -> None:
    seen = office.get("/v1/submissions/1").headers["ETag"]
    change = {**SIGNED, "title": "楼下烧烤店油烟", "district": "云岩区", "submitter": {"name": "李四"}}
    response = office.patch("/v1/submissions/1", json=change)
    assert (response.status_code, response.json()["type"]) == (428, "urn:minsheng:problem:if-match-required")
    assert office.patch("/v1/submissions/1", json=change, headers={"If-Match": '"1"'}).status_code == 412
    response = office.patch("/v1/submissions/1", json=change, headers={"If-Match": seen})
    assert response.status_code == 200, response.text
    found = store.get(1)
    assert found is not None
    assert (found.submission.title, found.submission.district, found.submission.text) == (
        "楼下烧烤店油烟",
        "云岩区",
        LAMP,
    )
    assert (found.submission.submitter.name, found.submission.submitter.phone) == ("李四", None)
    revised, analysed = detail(office)["events"][-2:]
    assert (revised["kind"], revised["detail"]) == (
        "revised", {"fields": ["title", "district", "submitter"], "received_at": found.submission.received_at,
                    "district": "云岩区", "sector": None, "reason": "属其职责"}
    )  # fmt: skip
    assert analysed["kind"] == "analysed"  # the title is part of what is analysed
    assert "油烟" not in str(detail(office)["events"])
    assert detail(office)["timeline"][-2]["what"] == "修改标题、区（市、县）、反映人"
    seen = response.headers["ETag"]
    response = office.patch("/v1/submissions/1", json={**SIGNED, "district": None}, headers={"If-Match": seen})
    assert detail(office)["events"][-1]["kind"] == "revised"
    seen = response.headers["ETag"]
    again = office.patch("/v1/submissions/1", json={**SIGNED, "district": None}, headers={"If-Match": seen})
    assert again.headers["ETag"] == seen  # nothing changed, nothing recorded


def test_a_row_imported_again_does_not_undo_what_people_changed(office: TestClient) -> None:
    seen = office.get("/v1/submissions/1").headers["ETag"]
    assert office.patch(
        "/v1/submissions/1", json={**SIGNED, "title": "路灯不亮"}, headers={"If-Match": seen}
    ).is_success
    same = {"external_id": "A-1", "title": "路灯", "text": LAMP, "submitter": {"name": "张三", "phone": "13812345678"}}
    [answer] = office.post("/v1/submissions", json={"items": [same]}).json()["items"]
    assert answer["outcome"] == "unchanged"
    assert detail(office)["title"] == "路灯不亮"
    [answer] = office.post("/v1/submissions", json={"items": [{**same, "title": "路灯还是不亮"}]}).json()["items"]
    assert (answer["outcome"], detail(office)["title"]) == ("revised", "路灯还是不亮")  # the source has news
    seen = office.get("/v1/submissions/1").headers["ETag"]
    assert office.patch("/v1/submissions/1", json={**SIGNED, "title": "路灯"}, headers={"If-Match": seen}).is_success
    [answer] = office.post("/v1/submissions", json={"items": [same]}).json()["items"]
    assert answer["outcome"] == "revised"  # equal to what stands now, but not to what the source sent last


def test_bad_patches_name_the_field_and_change_nothing(office: TestClient, store: Store) -> None:
    before, headers = store.stamp(), {"If-Match": "*"}
    for change, field in (
        ({"received_at": "去年"}, "received_at"), ({"title": "x\0"}, "title"), ({"text": "不许改"}, "body.text"),
        ({"district": "长" * 101}, "district"), ({"submitter": {"name": "长" * 201}}, "name"),
    ):  # fmt: skip
        response = office.patch("/v1/submissions/1", json={**SIGNED, **change}, headers=headers)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field), response.text
    assert office.patch("/v1/submissions/99", json={**SIGNED, "title": "x"}, headers=headers).status_code == 404
    assert store.stamp() == before
    act(office, "withdrawn")
    assert office.patch("/v1/submissions/1", json={**SIGNED, "title": "x"}, headers=headers).status_code == 200


def test_a_correction_rules_lists_filters_and_later_machines(office: TestClient, store: Store) -> None:
    before = detail(office)
    assert (before["primary"], before["corrected"]) == ("urban", False)
    body = {**SIGNED, "theme": "ecology"}
    response = office.post("/v1/submissions/1/correction", json=body)
    assert response.status_code == 200, response.text
    seen = response.headers["ETag"]
    # A new title has the machine say its word again, which is "urban".
    assert office.patch("/v1/submissions/1", json={**SIGNED, "title": "路灯坏"}, headers={"If-Match": seen}).is_success
    after = detail(office)
    assert after["events"][-1]["kind"] == "analysed"
    assert (after["primary"], after["matter"], after["confidence"], after["corrected"]) == ("ecology", None, None, True)
    themes = {t: [i["id"] for i in office.get("/v1/submissions", params={"theme": t}).json()["items"]]
              for t in ("urban", "ecology")}  # fmt: skip
    assert themes == {"urban": [], "ecology": [1, 2]}
    query = {"text": LAMP, "theme": "ecology"}
    assert 1 in [item["id"] for item in office.post("/v1/similar", json=query).json()["items"]]
    query = {"text": LAMP, "matter": "roads_municipal"}
    assert office.post("/v1/similar", json=query).json()["items"] == []
    page = office.get("/v1/corrections").json()
    assert page["next"] is None
    assert [(one["id"], one["theme"], one["matter"], one["actor"], one["reason"]) for one in page["items"]] == [
        (1, "ecology", None, "王芳", "属其职责")
    ]
    assert "更正：主题由强城镇改为强生态" in str(after["timeline"])


def test_corrections_are_paged_and_masked(office: TestClient) -> None:
    for number in (1, 2):
        body = {**SIGNED, "unit": UNIT}
        assert office.post(f"/v1/submissions/{number}/correction", json=body).is_success
    page = office.get("/v1/corrections", params={"limit": 1}).json()
    assert ([one["id"] for one in page["items"]], page["next"]) == ([1], 1)
    [second] = office.get("/v1/corrections", params={"after": 1}).json()["items"]
    assert (second["theme"], second["unit"]) == (None, UNIT)
    assert "13812345678" not in second["text"]


def test_lists_by_state_unit_and_due(office: TestClient, store: Store) -> None:
    act(office, "routed", unit=UNIT, days=2)

    def listed(**query: str) -> list[int]:
        return [item["id"] for item in office.get("/v1/submissions", params=query).json()["items"]]

    assert listed(state="待审核") == [2]
    assert listed(due="soon") == listed(unit=UNIT) == listed(state="已转办") == [1]
    assert listed(due="over") == []
    store.now = lambda: "2026-03-05T02:00:00+00:00"
    assert listed(due="over", unit=UNIT) == [1]
    assert office.get("/v1/submissions", params={"state": "没有"}).status_code == 422
    assert office.get("/v1/submissions").json()["items"][0]["standing"]["due"] == "2026-03-04"


def test_the_reply_is_shown_masked_and_is_in_no_event(office: TestClient) -> None:
    assert act(office, "answered", reply="已修好，咨询请拨 13812345678").status_code == 200
    shown = detail(office)
    assert shown["replies"] == ["已修好，咨询请拨 ***********"]
    assert "已修好" not in str(shown["events"])


def test_one_step_for_all_members(office: TestClient) -> None:
    assert office.post("/v1/cases", json={**SIGNED, "lead": 1, "members": [1, 2]}).status_code == 201
    assert act(office, "answered", reply="已办", members=True).json()["applied"] == [1, 2]
    assert detail(office, 2)["replies"] == ["已办"]
    response = act(office, "closed", number=2, result="已解决", members=True)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (409, "members")


# By command


@pytest.fixture
def stored(run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("service.store.now", lambda: "2026-03-02T02:00:00+00:00")
    path = tmp_path / "来电.csv"
    path.write_text(f"编号,内容\nB-1,{LAMP}\nB-2,楼下烧烤店油烟很大\n", encoding="utf-8")
    assert run("import", path)[0] == 0
    return run


def test_steps_lists_and_the_timeline_by_command(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    who = ("--actor", "王芳", "--reason", "属其职责")
    code, out, _ = stored("step", 1, "routed", *who, "--unit", UNIT, "--support", "市水务管理局", "--days", 2)
    assert code == 0
    assert json.loads(out)["standing"]["due"] == "2026-03-04"
    code, _, err = stored("step", 1, "closed", *who, "--result", "已解决")
    assert code == 2
    assert "错误：kind：1 号材料现为“已转办”，不能“办结”；可以：" in err
    parts = ("--part", f"油烟={UNIT}", "--part", "路灯=市住房和城乡建设局")
    assert json.loads(stored("step", 2, "split", *who, *parts)[1])["standing"]["support_units"] == [
        "市住房和城乡建设局"
    ]
    assert "parts" in stored("step", 2, "split", *who, "--part", "油烟", "--part", "路灯")[2]
    lines = stored("events", 1)[1].splitlines()
    assert (
        lines[-1]
        == f"2026-03-02 10:00  王芳  转办至{UNIT}（协办：市水务管理局），办理时限 2 个工作日，至 2026-03-04（属其职责）"
    )
    assert json.loads(stored("events", 1, "--format", "json")[1].splitlines()[-1])["kind"] == "routed"
    assert stored("list", "--due", "over")[1] == ""
    monkeypatch.setattr("service.store.now", lambda: "2026-03-05T02:00:00+00:00")
    assert stored("list", "--due", "over")[1] == f"1  2026-000001  已转办  2026-03-04  {UNIT}  B-1  \n"
    [row] = stored("list", "--state", "已转办", "--unit", UNIT, "--due", "over", "--format", "json")[1].splitlines()
    assert json.loads(row)["standing"]["number"] == "2026-000001"
    assert stored("list")[2] == ""
    monkeypatch.setattr("service.store.now", lambda: "2026-12-30T02:00:00+00:00")
    code, out, err = stored("list", "--due", "soon")
    assert (code, out) == (0, "")
    assert err.startswith("工作日历只到 2026-12-31")
    code, _, err = stored("list", "--state", "没有")
    assert code == 2
    assert "--state：'没有' 无效，应为 待审核、" in err


def test_corrections_are_exported_as_lines(stored: Run, store: Store, taxonomy: Any) -> None:
    Lifecycle(store).correct(2, "李雷", "是油烟", taxonomy, matter="fumes_odour", unit=UNIT)
    [line] = stored("corrections", "export")[1].splitlines()
    told = json.loads(line)
    assert (told["id"], told["external_id"], told["text"]) == (2, "B-2", "楼下烧烤店油烟很大")
    assert (told["theme"], told["matter"], told["unit"], told["actor"]) == ("ecology", "fumes_odour", UNIT, "李雷")


def test_reindex_restores_the_standings(stored: Run, store: Store) -> None:
    assert stored("step", 1, "kept", "--actor", "王芳", "--reason", "待查")[0] == 0
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM standings")
    assert stored("list", "--state", "留存")[1] == ""
    assert stored("reindex")[0] == 0
    assert stored("list", "--state", "留存")[1].startswith("1  2026-000001  留存")
