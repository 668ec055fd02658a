from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvicorn

from nlp.taxonomy import load_taxonomy
from nlp.themes import load_theme_model
from service import cli, engine, learning
from service.engine import Models
from service.settings import ROOT
from tests.conftest import TINY, CharacterEncoder

LAMP = "小区门口的路灯坏了半个月没人修"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process with the small models: (exit code, stdout, stderr)."""
    monkeypatch.setenv("MINSHENG_DATABASE_URL", f"sqlite:///{tmp_path / 'cli.db'}")
    monkeypatch.setattr(engine, "load_models", lambda settings: models)
    monkeypatch.setattr(learning, "load_models", lambda settings: models)
    monkeypatch.setattr(learning, "load_encoder", lambda path: CharacterEncoder())

    def invoke(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minsheng", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return invoke


def _lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_classify_answers_line_by_line_and_exits_1_where_some_failed(run: Run) -> None:
    lines = [
        json.dumps({"id": 7, "text": LAMP}),
        json.dumps({"id": "x", "text": ""}),
        "{nonsense",
        json.dumps({"id": "y", "title": "油烟", "text": "烧烤店油烟不敢开窗"}),
    ]
    code, out, _ = run("classify", "-", stdin="\n".join(lines).encode())
    answers = _lines(out)
    assert code == 1
    assert [a["id"] for a in answers] == [7, "x", None, "y"]
    assert ["error" in a for a in answers] == [False, True, True, False]
    assert answers[1]["error"] == {"type": "empty", "field": "text", "detail": "内容为空"}


def test_classify_a_good_file_exits_0(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps({"id": 1, "text": LAMP}, ensure_ascii=False).encode("gb18030"))
    code, out, _ = run("classify", path)
    assert code == 0
    assert len(_lines(out)) == 1


def test_import_keeps_good_rows_and_reports_bad_ones(run: Run, tmp_path: Path) -> None:
    path, rejects = tmp_path / "a.csv", tmp_path / "rejects.csv"
    path.write_text(
        f"编号,标题,日期,内容\n1,路灯,2024-05-06,{LAMP}\n2,空,2024-05-06,\n3,坏行\n4,油烟,昨天,烧烤店油烟\n5,油烟,,烧烤店油烟\n",
        encoding="utf-8",
    )
    code, out, err = run("import", path, "--source", "board", "--rejects", rejects)
    assert code == 1
    assert _lines(out) == [{"read": 5, "new": 2, "revised": 0, "unchanged": 0, "rejected": 3}]
    assert "第 3 行未导入：text：内容为空" in err
    assert "第 4 行未导入：row：应有 4 列，实有 2 列" in err
    assert "第 5 行未导入：received_at：日期无法识别" in err
    with rejects.open(encoding="utf-8-sig", newline="") as stream:
        assert [row[0] for row in csv.reader(stream)] == ["行号", "3", "4", "5"]
    assert _lines(run("import", path, "--source", "board")[1])[0]["unchanged"] == 2


def test_export_and_similar_find_what_was_imported(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"external_id": "A", "text": LAMP, "title": "=cmd()"}, {"external_id": "B", "text": "孩子上学学位不够"}]
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    assert run("import", path)[0] == 0
    assert [r["external_id"] for r in _lines(run("export")[1])] == ["A", "B"]

    table = tmp_path / "out.csv"
    assert run("export", "--format", "csv", "--out", table)[0] == 0
    with table.open(encoding="utf-8", newline="") as stream:
        assert next(csv.DictReader(stream))["title"] == "'=cmd()"  # no formula reaches the spreadsheet

    code, out, _ = run("similar", "门口路灯坏了", "--limit", "1", "--format", "json")
    [item] = json.loads(out)["items"]
    assert code == 0
    assert item["external_id"] == "A"
    assert {"id", "external_id", "title", "received_at", "score", "shared"} <= set(item)
    assert "A" in run("similar", "-", stdin="门口路灯坏了".encode())[1]


def test_similar_on_an_empty_store_says_so(run: Run) -> None:
    code, out, err = run("similar", LAMP)
    assert (code, out) == (0, "")
    assert "还没有登记任何材料" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "none.jsonl"], "none.jsonl：文件无法读取"),
        (["import", "none.csv"], "none.csv：文件无法读取"),
        (["import", "none.docx"], "无法识别的文件类型 '.docx'"),
        (["similar", " "], "text：内容为空"),
        (["serve", "--host", "0.0.0.0"], "未设置访问密钥，只能监听本机地址"),
        (["evaluate", "themes", "none.jsonl"], "找不到语料文件"),
        (["train", "themes", "--data", "none.csv", "--text", "a", "--label", "b", "--out", "x"], "文件无法读取"),
    ],
)
def test_what_cannot_run_exits_2_with_one_clear_line(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_a_wrong_map_exits_2(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    assert "--map 应为 字段=列名" in run("import", path, "--map", "text")[2]
    code, _, err = run("import", path, "--map", "text=c")
    assert code == 2
    assert "--map 中的列 'c' 不在文件中" in err


def test_a_damaged_database_exits_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cli.db").write_bytes(b"garbage" * 1000)
    code, _, err = run("export")
    assert code == 2
    assert "cli.db" in err
    assert "从备份恢复" in err


def test_train_on_own_labels_then_evaluate(run: Run, tmp_path: Path, models: Models) -> None:
    names = {"fumes_odour": "环保", "education": "教育", "roads_municipal": "市政", "no_content": "其它"}
    data, out = tmp_path / "history.csv", tmp_path / "own"
    rows = [(text, names[label]) for label, texts in TINY.items() for text in texts]
    data.write_text("内容,类别\n" + "\n".join(f"{a},{b}" for a, b in rows), encoding="utf-8")
    code, stdout, _ = run("train", "themes", "--data", data, "--text", "内容", "--label", "类别", "--out", out)
    assert code == 0
    assert _lines(stdout)[0]["labels"] == 4
    model = load_theme_model(out, models.taxonomy, "characters")
    assert model.themes == ("其它", "市政", "教育", "环保")
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    assert meta["command"].startswith("minsheng train themes")
    assert set(meta["corpus"]) == {"history.csv"}


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("内容,类别\n路灯坏了,\n", (), "history.csv 第 2 行：类别：内容为空"),
        ("内容,类别\n,市政\n", (), "history.csv 第 2 行：内容：内容为空"),
        ("内容,类别\n路灯,市政,多\n", (), "history.csv 第 2 行：row：应有 2 列"),
        ("内容,类别\n路灯,市政\n", ("--title", "标题"), "--title 所指的列 '标题' 不存在"),
    ],
)
def test_bad_training_rows_are_named(
    run: Run, tmp_path: Path, content: str, options: tuple[str, ...], message: str
) -> None:
    data = tmp_path / "history.csv"
    data.write_text(content, encoding="utf-8")
    code, _, err = run(
        "train", "themes", "--data", data, "--text", "内容", "--label", "类别", "--out", tmp_path / "m", *options
    )
    assert code == 2
    assert message in err
    assert not (tmp_path / "m").exists()


def test_train_with_an_own_taxonomy_carries_it_along(run: Run, tmp_path: Path) -> None:
    taxonomy, data, out = tmp_path / "t.toml", tmp_path / "d.jsonl", tmp_path / "own"
    entries = "".join(f'[[matters]]\nid = "{label}"\nname = "{label}"\ntheme = "all"\n' for label in TINY)
    taxonomy.write_text(f'version = "1"\n[[themes]]\nid = "all"\nname = "全部"\n{entries}', encoding="utf-8")
    records = [
        {"id": f"{label}{i}", "text": t, "matter": label} for label, ts in TINY.items() for i, t in enumerate(ts)
    ]
    data.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    assert run("train", "themes", "--data", data, "--taxonomy", taxonomy, "--out", out)[0] == 0
    shipped = load_taxonomy(ROOT / "corpora" / "taxonomy" / "taxonomy.toml")
    assert load_theme_model(out, shipped, "characters").themes == ("all",)


def test_evaluate_writes_json_and_a_page(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    records = [
        {"id": "1", "text": LAMP, "primary": "urban"},
        {"id": "2", "text": "烧烤店油烟不敢开窗", "primary": "livelihood", "also_acceptable": ["ecology"]},
        {"id": "3", "text": "孩子上学学位不够", "primary": "ecology", "secondary": ["urban"]},
    ]
    data.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    code, out, _ = run("evaluate", "themes", data, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert code == 0
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert result["scores"]["n"] == _lines(out)[0]["n"] == 3
    assert result["scores"]["accuracy"]["value"] == pytest.approx(1 / 3, abs=1e-3)
    assert result["scores"]["acceptable"]["value"] == pytest.approx(2 / 3, abs=1e-3)
    assert [e["id"] for e in result["errors"]] == ["3"]
    assert "强生态" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_evaluate_refuses_labels_the_model_does_not_know(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    data.write_text(json.dumps({"id": "1", "text": LAMP, "primary": "市政"}), encoding="utf-8")
    code, _, err = run("evaluate", "themes", data)
    assert code == 2
    assert "primary 不是模型的主题：市政" in err


def test_serve_starts_on_loopback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, object]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: started.append(options))
    code, _, err = run("serve", "--port", "8123")
    assert code == 0
    assert started[0]["host"] == "127.0.0.1"
    assert started[0]["port"] == 8123
    assert "http://127.0.0.1:8123" in err


def test_models_verify_and_list(run: Run) -> None:
    assert _lines(run("models", "verify")[1])[0]["encoder"] == "characters"
    listed = _lines(run("models", "list")[1])
    assert [m["model"] for m in listed] == ["themes-v1"]
    code, _, err = run("models", "build")
    assert code == 0
    assert "编码器已就绪" in err


def test_a_missing_model_exits_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINSHENG_ENCODER", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "argv", ["minsheng", "models", "verify"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "找不到编码器" in capsys.readouterr().err
