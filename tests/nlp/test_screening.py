"""Screening: what takes the force of a danger away and what does not; kinds, flags, channels; the lists as data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nlp.contracts import Screening
from nlp.document import Analyser
from nlp.errors import DataError
from nlp.evaluation import Estimate, detection, wilson
from nlp.screening import FLAGS, KINDS, Screen, UrgencyScreen
from service.settings import ROOT

FOLDER = ROOT / "corpora" / "screening"
FLOORS = json.loads((ROOT / "tests" / "floors.json").read_text(encoding="utf-8")).get("screening", {})
Read = Callable[..., Screening]


@pytest.fixture(scope="module")
def read(analyser: Analyser) -> Read:
    screen = Screen(FOLDER)
    return lambda text, title="", matter="": screen(analyser(text, title), matter)


@pytest.mark.parametrize(
    ("text", "urgent"),
    [
        ("你好。楼上正在冒黑烟，快来人！", "楼上正在冒黑烟，快来人！"),
        ("工厂转移原料时发生泄漏，化学品泄漏到路上", "工厂转移原料时发生泄漏，化学品泄漏到路上"),
        ("没有漏水，也没有火灾", None),
        ("没有发生任何坍塌。", None),
        ("墙垮了，没有人管。", "墙垮了，没有人管。"),  # the denial comes after
        ("没有护栏，孩子掉进河里了。", "没有护栏，孩子掉进河里了。"),  # a denial ends with its clause
        ("一旦发生火灾，后果不堪设想", None),
        ("去年这里着火了", None),
        ("去年这里着火了，今早又着火了", "去年这里着火了，今早又着火了"),  # the present undoes the past
        ("近年来坍塌频发，建议全面排查", None),
        ("昨晚着火了，已扑灭", None),
        ("如果再不发工资，我们就去堵路", "如果再不发工资，我们就去堵路"),  # a threat is one however it is put
        ("没有人要去堵路", None),
        ("面馆生意火爆", None),
        ("墙上有裂缝", None),  # doubtful by itself
        ("墙上的裂缝越来越宽，眼看就要砸下来", "墙上的裂缝越来越宽，眼看就要砸下来"),
        ("路灯坏了", None),
    ],
)
def test_urgency_reads_denial_past_supposition_and_present(read: Read, text: str, urgent: str | None) -> None:
    found = read(text).urgent
    assert (found.text if found else None) == urgent


def test_the_most_urgent_sentence_is_returned_and_the_title_counts(read: Read) -> None:
    text = "听说有人晕倒。邻居家着火了。现在三楼着火了，五个人被困！"
    found = read(text, "求助").urgent
    assert found is not None
    assert (found.field, found.text) == ("text", "现在三楼着火了，五个人被困！")
    found = read("请快些", "楼上着火了").urgent
    assert found is not None
    assert (found.field, found.text, found.label) == ("title", "楼上着火了", "URGENT")


@pytest.mark.parametrize(
    ("text", "kind", "cue"),
    [
        ("请问生育津贴到哪里申请？", "咨询", "请问"),
        ("老人瘫痪在床，恳请社区派人看看。", "求助", "恳请"),
        ("我要投诉这家健身房，卡里的钱不退。", "投诉", "投诉"),
        ("举报有人半夜往河里偷排。", "举报", "举报"),
        ("建议在路口加装信号灯。", "建议", "建议"),
        ("给环卫师傅点赞！", "表扬", "点赞"),
    ],
)
def test_kind_with_the_words_that_say_so(read: Read, text: str, kind: str, cue: str) -> None:
    found = read(text)
    assert found.cue is not None
    assert (found.kind, found.cue.text, found.cue.label) == (kind, cue, "KIND")
    assert found.confidence > 0.5


def test_a_kind_without_any_cue_is_a_guess(read: Read) -> None:
    found = read("天气")
    assert found.cue is None
    assert found.kind in KINDS
    assert found.confidence < 0.4


def test_a_title_says_what_a_letter_is(read: Read) -> None:
    text = "我们小区的垃圾三天没有清运。"
    assert read(text).kind != "建议"
    assert read(text, "关于增加清运班次的建议").kind == "建议"


@pytest.mark.parametrize(
    ("text", "kind", "cue", "channel"),
    [
        ("一审判决下来一年，对方还没有给钱。", "涉法涉诉", "一审", "人民法院（诉讼渠道）"),
        ("我报了案，派出所说不够立案标准。", "涉法涉诉", "立案标准", "公安机关"),
        ("村主任罗建国侵吞低保金。", "指名举报", "主任罗建国侵吞", "纪检监察机关"),
        ("老板娘罗小凤组织卖淫。", "指名举报", "老板娘罗小凤组织卖淫", "公安机关或行业主管部门"),
        ("本人与前夫因彩礼闹翻。", "个人事项", "前夫", "人民调解委员会或社区"),
    ],
)
def test_flag_with_channel_and_words(read: Read, text: str, kind: str, cue: str, channel: str) -> None:
    [flag] = read(text).flags
    assert (flag.kind, flag.span.text, flag.channel) == (kind, cue, channel)
    assert text[flag.span.start : flag.span.end] == cue


@pytest.mark.parametrize(
    "text",
    [
        "建议在乡镇设立巡回法庭。",
        "感谢骨科主任王志刚，没收红包。",
        "有人在河边偷倒垃圾。",
        "我们全村三百户都没有水吃，给我们解决一下。",
    ],
)
def test_no_flag_for_the_general_the_unnamed_and_the_many(read: Read, text: str) -> None:
    assert read(text).flags == ()


def test_the_matter_speaks_where_no_word_does(read: Read) -> None:
    text = "管天管地，管得好不好？说了也白说。"
    assert read(text).flags == ()
    [flag] = read(text, matter="no_content").flags
    assert (flag.kind, flag.channel) == ("内容空泛", "退回补充具体事项")
    assert flag.span.text in text


def _cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "cases" / name).read_text(encoding="utf-8").splitlines()]


def _held(name: str, found: Estimate) -> None:
    """Not below the lower end of the recorded interval; above its upper end the record is stale."""
    record = FLOORS[name]
    assert record["low"] <= found.value <= record["high"], f"{name}: {found} against {record}: look, or record anew"


def test_urgency_floors(read: Read) -> None:
    records = _cases("urgency-test.jsonl")
    found = [read(r["text"]).urgent is not None for r in records]
    precision, recall = detection([r["urgent"] for r in records], found)
    _held("urgency_precision", precision)
    _held("urgency_recall", recall)


def test_kind_and_flag_floors(read: Read) -> None:
    records = _cases("types-test.jsonl")
    _held("kinds_accuracy", wilson(sum(read(r["text"]).kind == r["kind"] for r in records), len(records)))
    records = _cases("flags-test.jsonl")
    for label in FLAGS[:3]:  # 内容空泛 needs the matter, which these words alone have not
        found = [label in {flag.kind for flag in read(r["text"]).flags} for r in records]
        precision, recall = detection([label in r["flags"] for r in records], found)
        _held(f"{label}_precision", precision)
        _held(f"{label}_recall", recall)


def test_wilson() -> None:
    found = wilson(8, 10)  # Wilson's interval for 8 of 10, from tables
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (0.8, 0.49, 0.943)
    assert wilson(0, 0) == Estimate(0.0, 0.0, 1.0)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    for path in FOLDER.glob("*.tsv"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("urgent.tsv", "fire\t火\t火灾", "role 是 'fire'，应为 acute、threat、latent"),
        ("urgent.tsv", "acute\t火\t(", "'(' 不是有效的正则表达式"),
        ("urgent.tsv", "acute\t火", "应有 3 列，实有 2 列"),
        ("kinds.tsv", "夸奖\ttext\t1\t好", "label 是 '夸奖'，应为 咨询、求助"),
        ("kinds.tsv", "表扬\tword\t1\t好", "role 是 'word'，应为 title、text、matter、kind、define 之一"),
        ("kinds.tsv", "表扬\ttext\t很\t好", "weight 是 '很'，应为数字"),
        ("flags.tsv", "涉法涉诉\ttext\t1\t[\t法院", "'[' 不是有效的正则表达式"),
    ],
)
def test_a_bad_line_is_named(lists: Path, file: str, line: str, message: str) -> None:
    path = lists / file
    number = len(path.read_text(encoding="utf-8").splitlines()) + 1
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Screen(lists)
    assert f"{file} 第 {number} 行：" in str(caught.value)
    assert message in str(caught.value)


def test_a_list_that_lacks_something_is_named(lists: Path) -> None:
    (lists / "urgent.tsv").write_text("role\tkind\tpattern\nacute\t火\t火灾\n", encoding="utf-8")
    with pytest.raises(DataError, match="缺少 threat、latent、now、denial、past、supposition、general、settled、figure 的词"):
        UrgencyScreen(lists / "urgent.tsv")
    shutil.copy(FOLDER / "urgent.tsv", lists)
    (lists / "kinds.tsv").write_text("label\trole\tweight\tpattern\n咨询\ttext\t1\t请问\n", encoding="utf-8")
    with pytest.raises(DataError, match="缺少 求助、投诉、举报、建议、表扬 的词"):
        Screen(lists)
    (lists / "kinds.tsv").unlink()
    with pytest.raises(DataError, match="找不到词表文件"):
        Screen(lists)
