"""Routing over HTTP and by command: batches, stored submissions, the paper, training and evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nlp.contracts import MatterScore
from nlp.routing import Router
from nlp.taxonomy import Taxonomy
from service import learning_routing, routing
from service.app import create_app
from service.engine import Models, load_router
from service.lifecycle import Lifecycle
from service.settings import Settings
from service.store import Store
from tests.conftest import TINY, CharacterEncoder
from tests.nlp.test_routing import history
from tests.service.conftest import Run

FUMES = "楼下烧烤店油烟很大不敢开窗"
LAMP = "路灯坏了晚上黑灯瞎火"
SCHOOL = "孩子上小学学位不够怎么办"


def _route(client: TestClient, *items: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/route", json={"items": list(items)})
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


def test_route_answers_in_order_and_keeps_good_items(client: TestClient) -> None:
    fumes, school, empty, district, nothing = _route(
        client,
        {"id": 1, "text": FUMES, "district": "云岩区"},
        {"id": "x", "title": "求学", "text": SCHOOL, "address": "花溪区清溪路"},
        {"id": 3, "text": " "},
        {"id": 4, "text": LAMP, "district": 5},
        "text",
    )
    assert (fumes["id"], fumes["lead"]["id"], fumes["place"]) == (1, "urban", "云岩区")
    assert {"id": "yunyan", "name": "云岩区人民政府"} in fumes["support"]
    assert "“油烟”" in fumes["reason"]
    assert fumes["basis"] in fumes["reason"]
    assert {FUMES[c["start"] : c["end"]] for c in fumes["cues"]} == {"烧烤", "油烟"}
    assert (fumes["matter"], fumes["variant"], fumes["source"]) == ("fumes_odour", "餐饮油烟", "table")
    assert fumes["alternatives"][0]["id"] == "urban"
    assert fumes["probability"] == pytest.approx(fumes["alternatives"][0]["probability"])
    assert (school["id"], school["lead"]["id"], school["place"]) == ("x", "huaxi", "花溪区")
    assert empty == {"id": 3, "error": {"type": "empty", "field": "text", "detail": "内容为空"}}
    assert (district["id"], district["error"]["field"]) == (4, "district")
    assert nothing["error"]["type"] == "invalid_type"


def test_route_refuses_too_many(client: TestClient, settings: Settings) -> None:
    response = client.post("/v1/route", json={"items": [{"text": LAMP}] * (settings.max_items + 1)})
    assert response.status_code == 422
    assert "一次最多" in response.json()["detail"]


def test_a_stored_submission_carries_the_same_proposal_and_nothing_is_encoded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/v1/submissions", json={"items": [{"text": FUMES, "district": "云岩区"}]})
    [asked] = _route(client, {"text": FUMES, "district": "云岩区"})
    monkeypatch.setattr(CharacterEncoder, "encode", None)
    stored = client.get("/v1/submissions/1").json()["routing"]
    assert stored == {name: value for name, value in asked.items() if name != "id"}


def test_history_answers_for_stored_and_new_alike(settings: Settings, models: Models, store: Store) -> None:
    model = history(pool=(0.0, 1.0, 0.0))
    dimension = CharacterEncoder.dimension
    weights = model.parameters.encoder_weights[:1].repeat(dimension, axis=0)
    model.parameters = replace(model.parameters, encoder_weights=weights)
    routed = replace(models, router=Router(models.router.units, models.taxonomy, model))
    with TestClient(create_app(settings, routed, store), base_url="http://127.0.0.1:8000") as client:
        client.post("/v1/submissions", json={"items": [{"text": LAMP}]})
        [asked] = _route(client, {"text": LAMP})
        stored = client.get("/v1/submissions/1").json()["routing"]
    assert (asked["lead"]["id"], asked["source"]) == ("police", "history")
    assert (stored["lead"], stored["probability"]) == (asked["lead"], pytest.approx(asked["probability"], abs=1e-4))


def test_units_in_force_today(client: TestClient) -> None:
    items = client.get("/v1/units").json()["items"]
    by_id = {item["id"]: item for item in items}
    assert by_id["yunyan"]["name"] == "云岩区人民政府"
    assert by_id["yunyan"]["level"] == "district"
    assert by_id["housing"]["valid_from"] == "2024-01-01"
    assert by_id["housing"]["valid_to"] is None
    assert "住建局" in by_id["housing"]["aliases"]


def test_the_paper_says_who_and_why_and_hides_persons(client: TestClient) -> None:
    text = f"{FUMES}，请联系我13812345678"
    submission = {
        "external_id": "G-7", "title": "油烟", "text": text, "district": "云岩区", "address": "中华北路",
        "received_at": "2024-05-06", "submitter": {"name": "张小明", "phone": "13812345678", "kind": "市民"},
    }  # fmt: skip
    client.post("/v1/submissions", json={"items": [submission]})
    page = client.get("/v1/submissions/1/routing/notice").text
    for shown in ("转 办 依 据", "G-7", "2024年5月6日", "云岩区，中华北路", "主办：市综合行政执法局", "云岩区人民政府",
                  "餐饮油烟", "职责依据：", "以经办人的决定为准"):  # fmt: skip
        assert shown in page, shown
    assert "13812345678" not in page
    assert "张小明" not in page
    response = client.get("/v1/submissions/1/routing/notice", params={"format": "html"})
    assert response.headers["content-disposition"].startswith("attachment")
    assert "<h1>转办依据</h1>" in response.text
    assert "市综合行政执法局" in response.text
    assert "13812345678" not in response.text


def test_the_paper_of_what_goes_to_a_person(client: TestClient) -> None:
    client.post("/v1/submissions", json={"items": [{"text": "谢谢领导"}]})
    page = client.get("/v1/submissions/1/routing/notice").text
    assert "须人工判断，机器不提主办单位。" in page
    assert "主办：" not in page


def test_the_paper_of_nothing_is_not_found(client: TestClient) -> None:
    response = client.get("/v1/submissions/9/routing/notice")
    assert (response.status_code, response.json()["detail"]) == (404, "id：没有编号为 9 的材料")


def test_an_erased_submission_has_no_proposal(client: TestClient) -> None:
    client.post("/v1/submissions", json={"items": [{"text": FUMES}]})
    client.request("DELETE", "/v1/submissions/1", json={"actor": "王芳", "reason": "本人要求"})
    assert client.get("/v1/submissions/1").json()["routing"] is None
    response = client.get("/v1/submissions/1/routing/notice")
    assert (response.status_code, response.json()["detail"]) == (404, "id：没有编号为 1 的材料，已删除")


def test_route_by_command(run: Run) -> None:
    lines = [{"id": "a", "text": FUMES}, {"id": "b"}]
    code, out, _ = run("route", "-", stdin="\n".join(json.dumps(line) for line in lines).encode())
    first, second = map(json.loads, out.splitlines())
    assert (code, first["id"], first["lead"]["name"]) == (1, "a", "市综合行政执法局")
    assert (second["id"], second["error"]["field"]) == ("b", "text")


def test_a_taxonomy_of_own_labels_leaves_all_to_people(client: TestClient, models: Models) -> None:
    document = models.analyser(LAMP)
    found = models.router.propose(document, None, [MatterScore("道路", "道路", 0.9)], routing.today())
    assert (found.lead, found.reason) == (None, "职责表中没有这类事项，请人工判断主办单位。")


# ── training and evaluation ────────────────────────────────────────────────────────────────────────────────────────

WORDS = {
    "市教育局": ("学位", "老师", "校车", "课本", "操场", "食堂"),
    "人社局": ("工资", "欠薪", "社保", "加班", "合同", "工伤"),
}


@pytest.fixture
def past(tmp_path: Path) -> Path:
    rows = [
        f"{a}{b}第{i}{j}件事请处理{a},{name},云岩\n"
        for name, words in WORDS.items()
        for i, a in enumerate(words)
        for j, b in enumerate(words)
        if i < j
    ]
    file = tmp_path / "历史.csv"
    file.write_text(
        "内容,承办,区县\n" + "".join(rows) + "山上有野猪下来了,林业局,\n门口的树倒了,属地,云岩\n", encoding="utf-8"
    )
    return file


@pytest.fixture
def trainer(run: Run, models: Models, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(learning_routing, "load_encoder", lambda path: CharacterEncoder())
    monkeypatch.setattr(learning_routing, "load_theme_model", lambda *_: models.themes)
    return run


def test_train_then_evaluate_routing(
    trainer: Run, past: Path, tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, taxonomy: Any
) -> None:
    columns = ("--text", "内容", "--unit", "承办", "--district", "区县")
    code, out, err = trainer("train", "routing", "--data", past, *columns, "--out", tmp_path / "routing")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["texts"], summary["units"]) == (32, 2)
    assert summary["left_to_table"] == {"属地": 1, "市林业局": 1}
    assert summary["out_of_fold"]["top1"]["value"] > 0.8
    settings = Settings(routing_model=tmp_path / "routing")
    learned = replace(models, router=load_router(settings, taxonomy, CharacterEncoder.encoder_id))
    monkeypatch.setattr(learning_routing, "load_models", lambda settings: learned)
    report, page = tmp_path / "r.json", tmp_path / "r.html"
    code, out, err = trainer("evaluate", "routing", past, *columns, "--json", report, "--html", page)
    assert code == 0, err
    figures, whole = json.loads(out), json.loads(report.read_text(encoding="utf-8"))
    assert whole["model"].startswith("routing@")
    assert whole["scores"]["n"] == figures["n"] == 32
    assert sum(whole["sources"].values()) == 32
    assert whole["sources"]["history"] > 20
    assert figures["right_if_answered"]["value"] > 0.8
    html = page.read_text(encoding="utf-8")
    assert "转办评测报告" in html
    assert "市教育局" in html


def test_a_decided_matter_is_routed_anew_and_trains(
    client: TestClient, trainer: Run, past: Path, tmp_path: Path, settings: Settings, taxonomy: Taxonomy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client.post("/v1/submissions", json={"items": [{"text": LAMP}, {"text": "树倒了压着路"}]})
    assert client.get("/v1/submissions/1").json()["routing"]["matter"] == "roads_municipal"
    told = {"matter": "fumes_odour", "unit": "林业局", "actor": "王芳", "reason": "其实是另一回事"}
    assert client.post("/v1/submissions/1/correction", json=told).status_code == 200
    routed = client.get("/v1/submissions/1").json()["routing"]
    assert (routed["matter"], routed["lead"]["id"]) == ("fumes_odour", "env")
    monkeypatch.setenv("MINSHENG_DATABASE_URL", settings.database_url)
    columns = ("--text", "内容", "--unit", "承办", "--district", "区县", "--from-corrections")
    code, out, err = trainer("train", "routing", "--data", past, *columns, "--out", tmp_path / "routing")
    assert code == 0, err
    summary = json.loads(out)
    assert (summary["texts"], summary["left_to_table"]["市林业局"]) == (33, 2)
    code, _, err = trainer("train", "routing", "--from-corrections", "--out", tmp_path / "alone")
    assert (code, "实有 0 个" in err) == (2, True)
    # A unit that has left the table since: no longer possible by the service.
    Lifecycle(client.app.state.store).correct(2, "王芳", "写错", taxonomy, unit="没有的局")
    code, _, err = trainer("train", "routing", "--from-corrections", "--out", tmp_path / "alone")
    assert (code, "更正：2 号材料：unit：单位表中没有“没有的局”" in err) == (2, True)


def test_decided_matters_join_the_training_of_themes(
    client: TestClient, run: Run, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/v1/submissions", json={"items": [{"text": LAMP}, {"text": SCHOOL}]})
    told = {"matter": "roads_municipal", "actor": "王芳", "reason": "核对过"}
    assert client.post("/v1/submissions/1/correction", json=told).status_code == 200
    monkeypatch.setenv("MINSHENG_DATABASE_URL", settings.database_url)
    file = tmp_path / "t.csv"
    rows = [f"{text},{label}" for label, texts in TINY.items() for text in texts]
    file.write_text("text,matter\n" + "\n".join(rows) + "\n", encoding="utf-8")
    code, out, err = run("train", "themes", "--data", file, "--from-corrections", "--out", tmp_path / "themes")
    assert code == 0, err
    assert json.loads(out)["texts"] == len(rows) + 1


def test_evaluate_the_table_alone(
    trainer: Run, tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_routing, "load_models", lambda settings: models)
    file = tmp_path / "h.jsonl"
    rows = [
        {"text": FUMES, "unit": "城管局", "also": ""},
        {"text": SCHOOL, "unit": "人社局", "also": "edu"},
        {"text": "谢谢领导", "unit": "本单位", "also": ""},
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    report = tmp_path / "r.json"
    code, out, err = trainer("evaluate", "routing", file, "--second", "also", "--json", report)
    assert code == 0, err
    scores = json.loads(out)
    assert scores["answered"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert scores["right_if_answered"]["value"] == 0.5
    assert scores["acceptable_if_answered"]["value"] == 1.0
    whole = json.loads(report.read_text(encoding="utf-8"))
    assert (whole["model"], whole["sources"]) == ("职责表", {"table": 2, "manual": 1})
    [error] = whole["errors"]
    assert (error["truth"], error["answer"]) == ("市人力资源和社会保障局", "市教育局")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("text,unit\n路灯坏了,市水务局局\n", (), "第 2 行：unit：单位表中没有“市水务局局”，相近的有：市水务局"),
        ("text,unit\n路灯坏了,\n", (), "第 2 行：unit：内容为空"),
        ("text,单位\n路灯坏了,urban\n", (), "--unit 所指的列 'unit' 不存在，文件的列为：text、单位"),
        ("text,unit\n", (), "没有一行转办历史"),
        ("text,unit\n路灯坏了,urban\n", (), "至少要有 2 个单位各有 5 条互不重复的材料，实有 0 个"),
    ],
)
def test_bad_history_is_named(
    trainer: Run, tmp_path: Path, content: str, arguments: tuple[str, ...], message: str
) -> None:
    file = tmp_path / "h.csv"
    file.write_text(content, encoding="utf-8")
    code, _, err = trainer("train", "routing", "--data", file, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()


def test_nothing_to_evaluate_is_said(
    trainer: Run, tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning_routing, "load_models", lambda settings: models)
    file = tmp_path / "h.jsonl"
    file.write_text("", encoding="utf-8")
    code, _, err = trainer("evaluate", "routing", file)
    assert code == 2
    assert "h.jsonl：文件中没有材料" in err
