from __future__ import annotations

import csv
import json
import socket
import sys
from pathlib import Path

import pytest
import uvicorn
from openpyxl import load_workbook

from nlp.taxonomy import load_taxonomy
from nlp.themes import load_theme_model
from service import cli
from service.engine import Models
from service.settings import ROOT
from tests.conftest import TINY, CharacterEncoder
from tests.service.conftest import Run

LAMP = "小区门口的路灯坏了半个月没人修"


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
    assert _lines(out) == [{"read": 5, "new": 2, "revised": 0, "unchanged": 0, "erased": 0, "rejected": 3}]
    assert "第 3 行未导入：text：内容为空" in err
    assert "第 4 行未导入：row：应有 4 列，实有 2 列" in err
    assert "第 5 行未导入：received_at：日期无法识别" in err
    with rejects.open(encoding="utf-8-sig", newline="") as stream:
        table = list(csv.reader(stream))
    assert table[0] == ["编号", "标题", "日期", "内容", "原行号", "未导入原因"]
    assert [row[-2] for row in table[1:]] == ["3", "4", "5"]
    assert table[1][-1] == "text：内容为空"
    assert _lines(run("import", path, "--source", "board")[1])[0]["unchanged"] == 2


def test_export_and_similar_find_what_was_imported(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"external_id": "A", "text": LAMP, "title": "=cmd()"}, {"external_id": "B", "text": "孩子上学学位不够"}]
    path.write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    assert run("import", path)[0] == 0
    assert [r["external_id"] for r in _lines(run("export")[1])] == ["A", "B"]

    table = tmp_path / "out.csv"
    assert run("export", "--format", "csv", "--out", table)[0] == 0
    assert table.read_bytes().startswith(b"\xef\xbb\xbf")  # or Excel takes it for GBK
    with table.open(encoding="utf-8-sig", newline="") as stream:
        assert next(csv.DictReader(stream))["title"] == "'=cmd()"  # no formula reaches the spreadsheet
    assert run("export", "--format", "xlsx", "--out", tmp_path / "out.xlsx")[0] == 0
    rows = list(load_workbook(tmp_path / "out.xlsx").worksheets[0].iter_rows(values_only=True))
    assert [row[2] for row in rows] == ["external_id", "A", "B"]
    assert rows[1][3] == "'=cmd()"

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
        (["import", "none.docx"], "none.docx：文件无法读取"),
        (["import", "none.csv", "--rejects", "/no/such/r.csv"], "目录 /no/such 不存在"),
        (["export", "--out", "/no/such/x.csv"], "目录 /no/such 不存在"),
        (["export", "--format", "xlsx"], "xlsx 不能写到标准输出"),
        (["similar", " "], "text：内容为空"),
        (["serve", "--host", "0.0.0.0"], "未设置有效的访问密钥，只能监听本机地址"),
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
    assert "列对应（--map）应为 字段=列名" in run("import", path, "--map", "text")[2]
    code, _, err = run("import", path, "--map", "text=c")
    assert code == 2
    assert "列对应（--map）中的列 'c' 不在文件中" in err


@pytest.mark.sqlite_file
def test_a_damaged_database_exits_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test.db").write_bytes(b"garbage" * 1000)
    code, _, err = run("export")
    assert code == 2
    assert "test.db" in err
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


def test_train_with_an_own_taxonomy_carries_it_along(run: Run, tmp_path: Path, models: Models) -> None:
    taxonomy, data, out = tmp_path / "t.toml", tmp_path / "d.jsonl", tmp_path / "own"
    themes = dict(zip(TINY, ["one", "two", "two", "one"], strict=True))
    heads = "".join(f'[[themes]]\nid = "{t}"\nname = "{t}"\n' for t in ("one", "two"))
    entries = "".join(f'[[matters]]\nid = "{m}"\nname = "{m}"\ntheme = "{t}"\n' for m, t in themes.items())
    taxonomy.write_text(f'version = "1"\n{heads}{entries}', encoding="utf-8")
    records = [
        {"id": f"{label}{i}", "text": t, "matter": label} for label, ts in TINY.items() for i, t in enumerate(ts)
    ]
    data.write_text("\n".join(json.dumps(r) for r in records), encoding="utf-8")
    assert run("train", "themes", "--data", data, "--taxonomy", taxonomy, "--out", out)[0] == 0
    shipped = load_taxonomy(ROOT / "corpora" / "taxonomy" / "taxonomy.toml")
    model = load_theme_model(out, shipped, "characters")
    assert model.themes == ("one", "two")
    document = models.analyser("烧烤店油烟不敢开窗")
    answer = model.classify(document, models.encoder.encode([document.normalised.text])[0])
    assert (answer.primary, answer.matter) == ("one", "fumes_odour")
    # The output folder is only ever replaced by a model of the same task.
    assert run("train", "themes", "--data", data, "--taxonomy", taxonomy, "--out", out)[0] == 0
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "notes.txt").write_text("keep")
    code, _, err = run("train", "themes", "--data", data, "--out", tmp_path / "precious")
    assert code == 2
    assert "这里已有别的内容，不会覆盖" in err
    assert (tmp_path / "precious" / "notes.txt").read_text() == "keep"


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
    bound: list[tuple[str, int]] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: bound.append(sockets[0].getsockname()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.listen()
        code, _, err = run("serve", "--port", port)
        assert code == 2
        assert f"无法监听 127.0.0.1:{port}" in err
    code, _, err = run("serve", "--port", port)
    assert code == 0
    assert bound == [("127.0.0.1", port)]
    assert f"http://127.0.0.1:{port}" in err


def test_models_verify_and_list(run: Run) -> None:
    assert _lines(run("models", "verify")[1])[0]["encoder"] == "characters"
    listed = _lines(run("models", "list")[1])
    assert [(m["model"], m["task"]) for m in listed] == [
        ("encoder-delta-v1", "encoder-delta"), ("pairs-v1", "pairs"), ("screening-v1", "screening"),
        ("themes-v1", "themes"),
    ]  # fmt: skip
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


def test_the_same_id_twice_in_one_file_ends_as_the_last_row_says(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    first, second = {"external_id": "A", "text": LAMP}, {"external_id": "A", "text": LAMP + "了"}
    path.write_text(json.dumps(first), encoding="utf-8")
    assert run("import", path)[0] == 0
    path.write_text("\n".join(json.dumps(r) for r in (second, first)), encoding="utf-8")
    code, out, _ = run("import", path)
    assert code == 0
    assert _lines(out)[0]["revised"] == 2
    assert json.loads(run("export")[1])["text"] == LAMP


def test_after_a_change_of_encoder_reindex_is_asked_for_and_helps(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"external_id": "A", "text": LAMP}), encoding="utf-8")
    assert run("import", path)[0] == 0
    monkeypatch.setattr(CharacterEncoder, "encoder_id", "another")
    for command in (["similar", LAMP], ["serve"], ["import", path]):
        code, _, err = run(*command)
        assert code == 2
        assert "请先执行 minsheng reindex" in err
    assert _lines(run("reindex")[1]) == [{"reindexed": 1}]
    assert "A" in run("similar", LAMP)[1]


def test_odd_bytes_on_stdin(run: Run) -> None:
    line = json.dumps({"id": 1, "text": LAMP}, ensure_ascii=False)
    for content in (line.encode("utf-8-sig"), line.encode("gb18030"), line.replace("小", "\u2028").encode()):
        code, out, _ = run("classify", "-", stdin=content)
        assert (code, len(_lines(out))) == (0, 1)
    code, out, _ = run("classify", "-", stdin=b"[" * 100_000 + b"\n" + line.encode())
    assert code == 1
    assert ["error" in a for a in _lines(out)] == [True, False]


def test_a_file_of_bad_rows_only_reports_each(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n[1]\n", encoding="utf-8")
    code, out, err = run("import", path)
    assert code == 1
    assert _lines(out)[0]["rejected"] == 2
    assert "第 1 行未导入" in err
    assert "第 2 行未导入" in err


def test_a_wrong_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINSHENG_MAX_CHARS", "abc")
    code, _, err = run("export")
    assert code == 2
    assert "MINSHENG_MAX_CHARS 无效：'abc'" in err
