"""Screening with a small model over the character encoder: what is answered, which sentence says so, which channel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nlp.artefact import META, WEIGHTS
from nlp.contracts import Screening
from nlp.document import Analyser
from nlp.errors import ArtefactDamaged, ArtefactMismatch, DataError
from nlp.evaluation import Estimate, detection, wilson
from nlp.screening import FLAGS, Channels, Screen, load_screen
from nlp.screening_training import Case, load_cases, save_screen, score_screen
from service.settings import ROOT
from tests.conftest import SCREENED, CharacterEncoder

Read = Callable[..., Screening]


@pytest.fixture(scope="module")
def read(analyser: Analyser, tiny_screen: Screen) -> Read:
    def one(text: str, title: str = "") -> Screening:
        document = analyser(text, title)
        return tiny_screen(document, CharacterEncoder().encode([document.normalised.text])[0])

    return one


@pytest.mark.parametrize(("kind", "flag", "texts"), SCREENED)
def test_it_answers_what_it_was_taught(read: Read, kind: str, flag: str, texts: list[str]) -> None:
    for text in texts:
        found = read(text)
        assert found.kind == kind
        assert 1 / 6 < found.confidence <= 1
        assert [f.kind for f in found.flags] == ([flag] if flag else [])
        assert (found.urgent is not None) is ("火" in text)


def test_one_urgent_sentence_in_a_long_letter_is_found(read: Read) -> None:
    letter = "请问窗口时间材料。" * 12
    assert read(letter).urgent is None
    assert read(letter + "着火了。" + letter).urgent is None  # too short to be heard alone
    found = read(letter + "大火烧来了，起火了救人！" + letter).urgent
    assert found is not None
    assert (found.field, found.text, found.label) == ("text", "大火烧来了，起火了救人！", "URGENT")


def test_what_is_past_alone_is_not_urgent(read: Read) -> None:
    fire = "大火烧来，起火了救人"
    assert read(f"{fire}。").urgent is not None
    for past in ("去年大火烧来起火了。", "当年大火烧来，后来起火了。", "三年前大火烧来，当时起火了。"):
        assert read(past).urgent is None
        assert read(f"{past}请问窗口时间材料。").urgent is None
        found = read(f"{past}{fire}！").urgent
        assert found is not None
        assert found.text == f"{fire}！"
    for present in (
        "去年大火烧来，起火了。",
        "去年大火烧来今天起火了。",
        "去年大火烧来扬言起火了。",
        "大火烧来起火了。",
    ):
        assert read(present).urgent is not None


def test_the_title_can_say_so(read: Read) -> None:
    found = read("请问窗口时间材料。", "着火了快来，起火了救人").urgent
    assert found is not None
    assert (found.field, found.text) == ("title", "着火了快来，起火了救人")


def test_the_words_are_the_sentence_that_speaks_most(read: Read) -> None:
    text = "路灯坏。判决应执行。天黑。"
    found = read(text)
    assert found.cue.text == "判决应执行。"
    [flag] = [f for f in found.flags if f.kind == "涉法涉诉"]
    assert flag.span.text == text[flag.span.start : flag.span.end] == "判决应执行。"


def test_threshold_decides(analyser: Analyser, tiny_screen: Screen, read: Read) -> None:
    from dataclasses import replace

    deaf = replace(tiny_screen.parameters, thresholds=dict.fromkeys(("紧急", *FLAGS), 1.1))
    screen = Screen(deaf, Channels(ROOT / "corpora" / "screening" / "channels.tsv"), "deaf")
    document = analyser("主任贪粮着火了快来")
    found = screen(document, CharacterEncoder().encode([document.normalised.text])[0])
    assert (found.urgent, found.flags) == (None, ())


@pytest.mark.parametrize(
    ("flag", "text", "channel"),
    [
        ("涉法涉诉", "判决下来一年没给钱", "人民法院（诉讼渠道）"),
        ("涉法涉诉", "派出所说不够立案标准", "公安机关"),
        ("涉法涉诉", "检察院提起公诉", "人民检察院"),
        ("涉法涉诉", "仲裁裁了不给", "仲裁机构或人民法院"),
        ("指名举报", "村主任罗建国侵吞低保金", "纪检监察机关"),
        ("指名举报", "罗小凤组织卖淫", "公安机关"),
        ("个人事项", "前夫不给抚养费", "人民调解委员会或社区"),
        ("个人事项", "帮我补一张证", "信访部门或主管部门"),
        ("内容空泛", "唉", "退回补充具体事项"),
    ],
)
def test_channels(flag: str, text: str, channel: str) -> None:
    assert Channels(ROOT / "corpora" / "screening" / "channels.tsv")(flag, text) == channel


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("旗\t\t法院", "第 2 行：flag 是 '旗'，应为 涉法涉诉"),
        ("涉法涉诉\t(\t法院", "第 2 行：'(' 不是有效的正则表达式"),
        ("涉法涉诉\t法官\t", "第 2 行：channel 为空"),
        ("涉法涉诉\t法官\t法院", "涉法涉诉、指名举报、个人事项、内容空泛 的最后一行应不写 pattern"),
    ],
)
def test_bad_channels_are_named(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "channels.tsv"
    path.write_text(f"flag\tpattern\tchannel\n{lines}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Channels(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "不是有效的 JSON"),
        ('{"id":"a"}', "缺少字段 'text'"),
        ('{"id":"a","text":"甲"}', "urgent、kind、flags 至少应有一个"),
        ('{"id":"a","text":"甲","kind":"夸奖"}', "kind 是 '夸奖'，应为 咨询"),
        ('{"id":"a","text":"甲","flags":["乙"]}', "flags 中有 乙，应为 涉法涉诉"),
        ('{"id":"a","text":"甲","urgent":true,"sentence":"乙"}', "sentence 应为正文中的一句"),
    ],
)
def test_bad_cases_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id":"b","text":"好","kind":"表扬"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_cases([path])
    assert "第 2 行" in str(caught.value)
    assert message in str(caught.value)


def test_a_saved_model_answers_the_same_and_refuses_what_it_is_not_for(
    analyser: Analyser, tiny_screen: Screen, read: Read, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    save_screen(tiny_screen.parameters, {}, folder, encoder_id="characters", papers={})
    loaded = load_screen(folder, ROOT / "corpora", "characters")
    document = analyser("主任贪粮着火了快来")
    encoding = CharacterEncoder().encode([document.normalised.text])[0]
    a, b = loaded(document, encoding), tiny_screen(document, encoding)
    assert (a.urgent, a.kind, a.flags) == (b.urgent, b.kind, b.flags)
    assert a.confidence == pytest.approx(b.confidence, abs=1e-5)
    with pytest.raises(ArtefactMismatch, match="模型是用编码器 characters 训练的，当前编码器是 other"):
        load_screen(folder, ROOT / "corpora", "other")
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    (folder / META).write_text(json.dumps(meta | {"labels": ["甲"]}), encoding="utf-8")
    with pytest.raises(ArtefactMismatch, match="模型的标签应为 紧急、咨询"):
        load_screen(folder, ROOT / "corpora", "characters")
    np.savez(folder / WEIGHTS, weights=np.zeros(1))
    with pytest.raises(ArtefactDamaged, match="模型文件损坏或被改动"):
        load_screen(folder, ROOT / "corpora", "characters")


def test_scores_counted_by_hand(read: Read) -> None:
    cases = [
        Case("1", "请问窗口。着火了快来，起火了救人。", True, "着火了快来", None, None),
        Case("2", "请问材料", True, "请问材料", None, None),  # missed
        Case("3", "起火了救人", False, None, None, None),  # a false alarm
        Case("4", "真好啊", None, None, "表扬", ("内容空泛",)),
    ]
    scores = score_screen(cases, [read(case.text) for case in cases])
    assert (scores["urgency"]["precision"]["value"], scores["urgency"]["recall"]["value"]) == (0.5, 0.5)
    assert scores["urgency"]["sentence"]["value"] == 1
    assert (scores["kinds"]["n"], scores["kinds"]["accuracy"]["value"]) == (1, 1)
    assert scores["flags"]["by_flag"]["内容空泛"]["recall"]["value"] == 1


def test_wilson() -> None:
    found = wilson(8, 10)  # Wilson's interval for 8 of 10, from tables
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (0.8, 0.49, 0.943)
    assert wilson(0, 0) == Estimate(0.0, 0.0, 1.0)
    assert [e.value for e in detection([True, True, False], [True, False, True])] == [0.5, 0.5]
