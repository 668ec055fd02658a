from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.agreement import Agreement, drift
from service.app import create_app
from service.engine import Models
from service.settings import Settings
from service.store import Store
from service.tables import analyses

SIGNED = {"actor": "王芳", "reason": "属其职责"}
LAMP = "小区门口的路灯坏了半个月没人修"
ITEMS: list[dict[str, Any]] = [
    {"external_id": "A-1", "title": "路灯", "text": f"{LAMP}，请派人来。", "district": "云岩区",
     "submitter": {"name": "张三", "phone": "13812345678"}},
    {"external_id": "A-2", "text": "楼下烧烤店油烟很大不敢开窗", "district": "南明区", "submitter": {"phone": "13900001111"}},
    {"external_id": "A-3", "title": "幼儿园着火", "text": "幼儿园着火了快来，起火了救人，大火烧来了，电话13812340000。"},
    {"external_id": "A-4", "title": "又是路灯", "text": f"{LAMP}，请派人来。联系人13900002222。", "district": "云岩"},
    {"external_id": "A-5", "title": "路灯催办", "text": f"{LAMP}，请派人来。", "submitter": {"name": "张三", "phone": "13812345678"}},
]  # fmt: skip


@pytest.fixture
def office(settings: Settings, models: Models, store: Store) -> Iterator[TestClient]:
    """The service on Monday 2 March 2026 with five submissions; the third is urgent."""
    store.now = lambda: "2026-03-02T02:00:00+00:00"
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as opened:
        assert opened.post("/v1/submissions", json={"items": ITEMS}).status_code == 200
        yield opened


def act(office: TestClient, kind: str, number: int = 1, **fields: Any) -> None:
    response = office.post(f"/v1/submissions/{number}/events", json={**SIGNED, "kind": kind, **fields})
    assert response.status_code == 200, response.text


def correct(office: TestClient, number: int, **fields: Any) -> None:
    response = office.post(f"/v1/submissions/{number}/correction", json={**SIGNED, **fields})
    assert response.status_code == 200, response.text


def asked(office: TestClient, **query: Any) -> list[int]:
    body = office.get("/v1/inbox", params=query).json()
    assert body["total"] == len(body["items"])
    return [item["id"] for item in body["items"]]


def test_urgent_first_then_the_doubtful_and_what_people_judged_last(office: TestClient) -> None:
    correct(office, 2, theme="urban")
    items = office.get("/v1/inbox").json()["items"]
    assert (items[0]["id"], items[-1]["id"]) == (3, 2)
    between = [(item["decision"] != "review", item["confidence"]) for item in items[1:-1]]
    assert between == sorted(between)
    assert [item["id"] for item in items if item["urgent"]] == [3]


def test_the_inbox_is_narrowed_and_counts_what_stands_where(office: TestClient) -> None:
    act(office, "routed", 2, unit="市综合行政执法局", days=1)
    act(office, "kept", 4)
    assert asked(office, state="待审核", urgent=True) == [3]
    assert sorted(asked(office, district="云岩区")) == [1, 4]
    assert asked(office, unit="市综合行政执法局") == [2]
    assert asked(office, due="soon") == [2]
    assert asked(office, due="over") == []
    assert 1 in asked(office, theme="urban")
    assert 2 not in asked(office, theme="urban")
    body = office.get("/v1/inbox", params={"state": "待审核", "limit": 1}).json()
    assert (len(body["items"]), body["total"]) == (1, 3)
    assert body["counts"] == {"待审核": 3, "已转办": 1, "留存": 1, "临期": 1, "超期": 0}
    assert "投诉" in body["categories"]


def test_lines_and_details_show_no_personal_data(office: TestClient) -> None:
    answers = [
        office.get("/v1/inbox"),
        office.get("/v1/submissions/3"),
        office.get("/v1/submissions/4/similar?limit=20"),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert not any(number in answer.text for number in ("13812345678", "13812340000", "13900002222"))
    [line] = [item for item in answers[0].json()["items"] if item["id"] == 3]
    assert "*" in line["summary"]


def test_a_detail_tells_what_the_machine_said_and_why(office: TestClient) -> None:
    correct(office, 1, theme="livelihood")
    body = office.get("/v1/submissions/1").json()
    said = body["analysis"]
    assert (body["primary"], said["primary"]) == ("livelihood", "urban")
    assert said["themes"][0]["theme"] == "urban"
    for one in said["evidence"]:
        assert body[one["field"]][one["start"] : one["end"]] == one["text"]
    urgent = office.get("/v1/submissions/3").json()
    span = urgent["analysis"]["urgent"]
    assert urgent[span["field"]][span["start"] : span["end"]] == span["text"]


def test_what_is_near_a_stored_one_without_itself(office: TestClient) -> None:
    items = office.get("/v1/submissions/1/similar").json()["items"]
    assert [item["id"] for item in items][:2] == [5, 4]
    assert [item["same_submitter"] for item in items][:2] == [True, False]
    assert items[1]["shared"][0]["a_text"].startswith(LAMP)
    assert items[1]["standing"]["state"] == "待审核"
    assert all(item["id"] != 1 and item["relation"] != "unrelated" for item in items)
    assert len(office.get("/v1/submissions/1/similar?limit=1").json()["items"]) == 1
    case = office.post("/v1/cases", json={**SIGNED, "lead": 4, "members": [2, 4]}).json()["id"]
    again = office.get("/v1/submissions/1/similar").json()["items"]
    assert again[1]["case"] == case
    [line] = [item for item in office.get("/v1/inbox").json()["items"] if item["id"] == 2]
    assert (line["case"], line["lead"]) == (case, 4)


def test_the_inbox_opens_where_the_calendar_has_ended_and_says_so(office: TestClient, store: Store) -> None:
    assert office.get("/v1/inbox").json()["advice"] is None
    assert office.get("/readyz").json()["advice"] is None
    act(office, "routed", 2, unit="市综合行政执法局")
    store.now = lambda: "2027-01-04T02:00:00+00:00"
    body = office.get("/v1/inbox", params={"due": "over"}).json()
    assert ([item["id"] for item in body["items"]], body["counts"]["超期"]) == ([2], 1)
    assert body["advice"].startswith("工作日历只到 2026-12-31")
    assert office.get("/readyz").json()["advice"] == body["advice"]
    assert office.get("/v1/submissions?due=soon").json()["items"] == []


def test_nothing_is_near_what_is_not_there(office: TestClient) -> None:
    response = office.get("/v1/submissions/99/similar")
    assert (response.status_code, response.json()["detail"]) == (404, "id：没有编号为 99 的材料")


def test_what_was_erased_is_in_no_list(office: TestClient) -> None:
    response = office.request("DELETE", "/v1/submissions/5", json=SIGNED)
    assert response.status_code in {200, 204}, response.text
    assert 5 not in asked(office)
    assert "已删除" not in office.get("/v1/inbox").json()["counts"]
    assert [item["id"] for item in office.get("/v1/submissions/1/similar").json()["items"]][:1] == [4]
    assert office.get("/v1/submissions/5/similar").status_code == 404
    assert office.get("/v1/submissions/5").json()["analysis"]["themes"] == []
    assert sum(one["submissions"] for one in office.get("/v1/agreement").json()["drift"]) == 4


def rows(office: TestClient) -> dict[tuple[str | None, str | None], dict[str, Any]]:
    return {(row["month"], row["theme"]): row for row in office.get("/v1/agreement").json()["agreement"]}


def test_agreement_counts_what_people_kept_and_changed(office: TestClient) -> None:
    assert office.get("/v1/agreement").json()["agreement"] == []
    proposed = [office.get(f"/v1/submissions/{n}").json()["routing"]["lead"] for n in (1, 5)]
    act(office, "routed", 1, unit=proposed[0]["name"])  # theme and unit kept
    correct(office, 4, theme="livelihood")  # theme changed
    correct(office, 5, theme="urban", unit="市教育局")  # looked at and kept; unit changed
    act(office, "routed", 5, unit="市教育局")
    act(office, "returned", 3)  # says nothing of the theme
    found = rows(office)
    whole = found[None, None]
    assert (whole["themes"]["confirmed"], whole["themes"]["corrected"]) == (2, 1)
    assert (whole["units"]["confirmed"], whole["units"]["corrected"]) == (1, 1)
    assert found["2026-03", "urban"] == {**whole, "month": "2026-03", "theme": "urban"}
    # Wilson's interval of 2 in 3, by hand: (2/3 + z²/6 ± z·sqrt((2/9)/3 + z²/36)) / (1 + z²/3) with z = 1.96.
    assert whole["themes"]["share"] == pytest.approx(0.6667, abs=1e-4)
    assert (whole["themes"]["low"], whole["themes"]["high"]) == pytest.approx((0.2077, 0.9385), abs=1e-3)


def test_agreement_goes_by_what_the_machine_said_then_and_people_last(office: TestClient) -> None:
    correct(office, 1, theme="livelihood")
    correct(office, 1, theme="urban")  # back to what the machine had said
    act(office, "routed", 4, unit=office.get("/v1/submissions/4").json()["routing"]["lead"]["name"])
    act(office, "routed", 4, unit="市教育局")  # a second unit
    assert office.get("/v1/submissions/3").json()["routing"]["lead"] is None
    act(office, "routed", 3, unit="市教育局")  # nothing was proposed
    found = rows(office)
    assert found[None, "urban"]["themes"]["corrected"] == 0
    assert found[None, None]["units"] == {"confirmed": 0, "corrected": 1, "share": 0.0, "low": 0.0, "high": 0.7935}


def test_the_report_is_made_again_only_when_something_happened(office: TestClient, store: Store) -> None:
    agreement = Agreement(store)
    first = agreement.report()
    assert agreement.report() is first
    act(office, "kept", 1)
    assert len(agreement.report().judgements) == len(first.judgements) + 1


def share_of(count: int, of: int = 100) -> list[float]:
    return [1.0] * count + [0.0] * (of - count)


def test_doubt_outside_its_band_is_told_from_chance() -> None:
    usual = {f"2025-{month:02d}": share_of(20 + month % 3) for month in range(1, 7)}
    told = list(drift({**usual, "2025-07": share_of(24), "2025-08": share_of(45), "2025-09": share_of(9, 10)}))
    assert (told[0].submissions, told[0].share) == (100, 0.21)
    assert [one.band is None for one in told] == [True] * 3 + [False] * 5 + [True]
    assert [one.outside for one in told[-3:]] == [False, True, False]
    low, high = told[-2].band or (0, 0)
    assert (low < 0.2, 0.24 < high < 0.45) == (True, True)


def test_a_share_that_hardly_varies_within_a_month_has_a_narrow_band() -> None:
    usual = {f"2025-0{month}": [0.18, 0.22] * 20 for month in (1, 2, 3)}
    narrow, left = list(drift({**usual, "2025-04": [0.2] * 40, "2025-05": [0.24] * 40}))[-2:]
    # The months are alike, and submissions deviate by 0.02: 0.2 ± 2 · 0.02 / √40.
    assert narrow.band == pytest.approx((0.2 - 0.0063, 0.2 + 0.0063), abs=1e-4)
    assert (narrow.outside, left.outside) == (False, True)


def test_unknown_words_are_counted_where_they_are_known(office: TestClient, store: Store) -> None:
    [month] = office.get("/v1/agreement").json()["unknown_words"]
    assert (month["submissions"], month["band"], month["outside"]) == (5, None, False)
    assert 0 < month["share"] < 1
    with store.writing() as connection:  # as if one had been analysed before they were counted
        connection.execute(analyses.update().where(analyses.c.submission_id == 1).values(unknown_words=None))
    act(office, "kept", 1)
    body = office.get("/v1/agreement").json()
    assert (body["unknown_words"][0]["submissions"], body["drift"][0]["submissions"]) == (4, 5)
    assert f"minsheng_unknown_words_ratio {body['unknown_words'][0]['share']:.3f}"[:-1] in office.get("/metrics").text
    assert "minsheng_unknown_words_drift 0.0" in office.get("/metrics").text


def test_metrics_tell_agreement_and_drift(office: TestClient) -> None:
    assert 'minsheng_agreement_ratio{of="themes"}' not in office.get("/metrics").text
    act(office, "routed", 1, unit="市住建局")
    text = office.get("/metrics").text
    assert 'minsheng_agreement_ratio{of="themes"} 1.0' in text
    assert "minsheng_review_ratio" in text
    assert "minsheng_drift 0.0" in text


def test_the_page_is_served_under_its_name(office: TestClient) -> None:
    page = office.get("/inbox")
    assert "收件箱" in page.text
    for name in ("common.js", "inbox.js", "inbox_panel.js", "inbox_steps.js", "inbox_import.js", "inbox.css"):
        assert f'"{name}"' in page.text
        assert office.get(f"/{name}").status_code == 200
