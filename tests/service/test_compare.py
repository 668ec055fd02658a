"""Comparing pairs: by command and by HTTP; training and evaluating the pair model by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service import learning_pairs
from tests.conftest import TINY, CharacterEncoder
from tests.service.conftest import Run

LAMP = "小区门口的路灯坏了半个月没人修"
SCHOOL = "孩子明年上小学学位不够"


def _items(client: TestClient, *items: object) -> list[dict]:
    response = client.post("/v1/compare", json={"items": list(items)})
    assert response.status_code == 200
    return response.json()["items"]


def test_compare_answers_in_order_and_keeps_good_items(client: TestClient) -> None:
    same, other, empty, number, nothing = _items(
        client,
        {"id": 1, "a": LAMP, "b": LAMP + "了"},
        {"id": "x", "a": LAMP, "b": SCHOOL},
        {"id": 3, "a": LAMP, "b": " "},
        {"id": 4, "a": 5, "b": LAMP},
        "text",
    )
    assert (same["id"], same["relation"]) == (1, "duplicate")
    assert sum(same["probability"].values()) == pytest.approx(1, abs=1e-5)
    a, b = same["shared"][0]["a"], same["shared"][0]["b"]
    assert LAMP[slice(*a)] == (LAMP + "了")[slice(*b)][: len(LAMP)]
    assert (other["id"], other["relation"], other["shared"]) == ("x", "unrelated", [])
    assert empty == {"id": 3, "error": {"type": "empty", "field": "b", "detail": "内容为空"}}
    assert (number["id"], number["error"]["field"]) == (4, "a")
    assert nothing["error"]["type"] == "invalid_type"


def test_compare_by_command(run: Run) -> None:
    lines = [{"id": "p1", "a": LAMP, "b": LAMP}, {"id": "p2", "a": LAMP}]
    code, out, _ = run("compare", "-", stdin="\n".join(map(json.dumps, lines)).encode() + b"\n{broken")
    first, second, third = map(json.loads, out.splitlines())
    assert (code, first["id"], first["relation"]) == (1, "p1", "duplicate")
    assert (second["id"], second["error"]["field"]) == ("p2", "b")
    assert third["error"]["type"] == "invalid_json"


def test_similar_gives_the_grade(client: TestClient) -> None:
    client.post("/v1/submissions", json={"items": [{"text": LAMP}, {"text": SCHOOL}]})
    first, second = client.post("/v1/similar", json={"text": LAMP}).json()["items"]
    assert (first["relation"], second["relation"]) == ("duplicate", "unrelated")
    assert first["probability"]["duplicate"] == 1.0


@pytest.fixture
def pair_file(tmp_path: Path) -> Path:
    rows = []
    for n, (lamp, other) in enumerate(zip(TINY["roads_municipal"] * 2, TINY["education"] * 2, strict=True)):
        rows += [
            {"id": f"d{n}", "a": f"{n}号{lamp}", "b": f"{n}号{lamp}，请修", "relation": "duplicate"},
            {"id": f"r{n}", "a": f"{n}栋{lamp}", "b": f"{n + 20}栋{lamp}", "relation": "related", "trap": "number",
             "conflicts": [{"kind": "number", "a": f"{n}栋", "b": f"{n + 20}栋"}]},
            {"id": f"u{n}", "a": lamp, "b": f"{n}{other}", "relation": "unrelated"},
        ]  # fmt: skip
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    return path


def test_train_then_evaluate_pairs(run: Run, tmp_path: Path, pair_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_pairs, "load_encoder", lambda path: CharacterEncoder())
    themes = tmp_path / "themes.jsonl"
    rows = [{"id": f"{m}{i}", "text": t, "matter": m} for m, texts in TINY.items() for i, t in enumerate(texts)]
    themes.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    code, _, err = run("train", "themes", "--data", themes, "--out", tmp_path / "themes-own")
    assert code == 0, err
    monkeypatch.setenv("MINSHENG_THEME_MODEL", str(tmp_path / "themes-own"))
    model = tmp_path / "pairs-own"
    code, out, err = run("train", "pairs", "--data", pair_file, "--out", model, "--background", themes)
    assert code == 0, err
    assert json.loads(out)["pairs"] == 24
    monkeypatch.setenv("MINSHENG_PAIR_MODEL", str(model))
    target = tmp_path / "r.json", tmp_path / "r.html"
    code, out, err = run("evaluate", "pairs", pair_file, "--json", target[0], "--html", target[1])
    assert code == 0, err
    result = json.loads(target[0].read_text(encoding="utf-8"))
    assert result["scores"]["n"] == 24
    assert result["scores"]["accuracy"]["value"] > 0.8
    assert [trap["trap"] for trap in result["traps"]] == ["number"]
    assert json.loads(out)["macro_f1"] == result["scores"]["macro_f1"]
    page = target[1].read_text(encoding="utf-8")
    assert "查重模型评测报告" in page
    assert "重复" in page
    assert "http" not in page


def test_bad_pair_files_are_named(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    for file, message in ((empty, "文件中没有成对材料"), (tmp_path / "none.jsonl", "找不到语料文件")):
        code, _, err = run("evaluate", "pairs", file)
        assert (code, message in err) == (2, True)
