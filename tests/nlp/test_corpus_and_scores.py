from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nlp.corpus import Labelled, load_corpus, near_copies, near_duplicate_groups
from nlp.errors import DataError
from nlp.evaluation import calibration_error, score_themes
from nlp.report import coverage_curve, reliability, render_report

A = "楼下的烧烤店每天营业到凌晨两点，油烟直往楼上灌，窗户都不敢开。"
B = "楼下的烧烤店每天营业到凌晨三点，油烟直往楼上灌，窗户也不敢开！"
C = "孩子明年上小学，片区里的两所学校学位都满了，不知道去哪里报名。"


def test_near_copies_and_groups() -> None:
    assert [(i, j) for i, j, _ in near_copies([A, B, C])] == [(1, 0)]
    items = [Labelled(str(i), "", text, "x") for i, text in enumerate([A, B, C])]
    groups = near_duplicate_groups(items)
    assert groups[0] == groups[1] != groups[2]


def test_a_named_group_never_parts() -> None:
    items = [Labelled("1", "", A, "x", group="g"), Labelled("2", "", C, "x", group="g")]
    assert len(set(near_duplicate_groups(items))) == 1


def test_texts_of_one_writer_part_unless_asked_not_to() -> None:
    items = [
        Labelled("1", "", A, "x", writer="w"),
        Labelled("2", "", C, "x", writer="w"),
        Labelled("3", "", "县里的路什么时候修", "x"),
    ]
    assert len(set(near_duplicate_groups(items))) == 3
    groups = near_duplicate_groups(items, by_writer=True)
    assert groups[0] == groups[1] != groups[2]


def test_load_corpus_reads_what_evaluation_needs(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    record = {"id": 7, "title": None, "text": A, "primary": "ecology", "also_acceptable": ["urban"], "secondary": []}
    path.write_text(json.dumps(record) + "\n\n", encoding="utf-8")
    assert load_corpus([path], "primary") == [Labelled("7", "", A, "ecology", (), ("urban",), "7", "c")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id":1,"text":"a","matter":"m"}\n{', "第 2 行：不是有效的 JSON"),
        (b'{"id":1,"text":"a"}', "第 1 行：缺少字段 'matter'"),
        (b"[]", "第 1 行：缺少字段"),
        ("文".encode("gb18030"), "应为 UTF-8 编码"),
    ],
)
def test_a_bad_corpus_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_corpus([path])
    assert message in str(caught.value)
    with pytest.raises(DataError, match="找不到语料文件"):
        load_corpus([tmp_path / "none"])


def test_scores_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    scores = score_themes(["a", "b"], probabilities, ["a", "b", "b", "b"], [[], ["a"], [], []], threshold=0.75)
    assert scores.n == 4
    assert scores.accuracy.value == 0.5
    assert scores.acceptable.value == 0.75
    assert scores.accepted_share == 0.5
    assert scores.accepted_error == 0.0
    assert scores.confusion == ((1, 0), (2, 1))
    # a: precision 1/3, recall 1 → 0.5; b: precision 1, recall 1/3 → 0.5
    assert scores.macro_f1.value == pytest.approx(0.5)
    assert scores.accuracy.low <= scores.accuracy.value <= scores.accuracy.high
    # The most confident 80 % are three of four; the one at 0.7 is wrong, the one at 0.6 is left out.
    assert scores.acceptable_at_coverage.value == pytest.approx(2 / 3)


def test_macro_f1_counts_only_labels_with_enough_examples() -> None:
    probabilities = np.array([[1.0, 0.0]] * 10 + [[1.0, 0.0]])
    scores = score_themes(["a", "b"], probabilities, ["a"] * 10 + ["b"])
    assert scores.macro_f1_labels == 1


def test_calibration_error_by_hand() -> None:
    confidence = np.full(20, 0.8)
    assert calibration_error(confidence, np.array([True] * 16 + [False] * 4)) == pytest.approx(0.32)
    assert calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0


def test_report_is_one_page_with_chinese_labels() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    scores = score_themes(["ecology", "urban"], probabilities, ["ecology", "urban"], threshold=0.5).as_dict()
    error = {"id": "<b>", "title": "油烟", "truth": "urban", "answer": "ecology", "matter": "m", "confidence": 0.6,
             "evidence": ["不敢开窗"]}  # fmt: skip
    result = {"file": "f.jsonl", "file_sha256": "0" * 64, "model": "m", "encoder": "e", "scores": scores,
              "secondary": {"precision": 0.5, "recall": 0.5, "given": 2, "wanted": 2}, "errors": [error],
              "matters": [{"label": "fumes_odour", "precision": 0.25, "recall": 1.0, "f1": 0.4, "support": 1}]}  # fmt: skip
    page = render_report(
        "themes",
        result,
        {"ecology": "强生态", "urban": "强城镇", "fumes_odour": "油烟异味"},
        probabilities.max(axis=1),
        np.array([True, False]),
    )
    assert "强生态" in page
    assert "不敢开窗" in page
    assert "油烟异味" in page
    assert "25.0%" in page
    assert "&lt;b&gt;" in page
    assert "http" not in page


def test_curves() -> None:
    confidence, right = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, True, False, True])
    assert coverage_curve(confidence, right)[-1] == (1.0, 0.75)
    assert coverage_curve(confidence, right)[0] == (0.25, 1.0)
    assert sum(n for _, _, n in reliability(confidence, right)) == 4
