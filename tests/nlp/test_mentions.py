from __future__ import annotations

from pathlib import Path

import pytest

from nlp.document import Analyser
from nlp.errors import DataError
from nlp.matching import MENTIONS
from nlp.mentions import MentionFinder, conflicts, opposed
from service.settings import ROOT

PATH = ROOT / "corpora" / MENTIONS


@pytest.fixture(scope="module")
def finder() -> MentionFinder:
    return MentionFinder(PATH, dict.fromkeys(["老旧小", "旧小区", "我们小", "们小区", "农贸市", "镇卫生"], 100))


def _conflicts(finder: MentionFinder, analyser: Analyser, a: str, b: str) -> list[tuple[str, str, str]]:
    left, right = analyser(a), analyser(b)
    found = conflicts(left, finder(left), right, finder(right))
    for c in found:
        assert a[c.a.start : c.a.end] == c.a.text
        assert b[c.b.start : c.b.end] == c.b.text
    return [(c.kind, c.a.text, c.b.text) for c in found]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("清水农贸市场的棚子漏雨", "清溪农贸市场顶棚漏雨", [("place", "清水农贸市场", "清溪农贸市场")]),
        ("衡东县石坳镇卫生院没有救护车", "衡东县石滩镇卫生院没有救护车", [("place", "石坳镇", "石滩镇")]),
        ("金狮苑7栋电梯困人", "金狮苑9栋电梯困人", [("number", "7栋", "9栋")]),
        ("学生公寓二标段欠薪", "学生公寓3标段欠薪", [("number", "二标段", "3标段")]),
        ("2022年闭店退了一半", "2024年闭店又不退钱", [("time", "2022", "2024")]),
        ("园门口请加装减速带", "园门口的减速带请取消", [("polarity", "加装", "取消")]),
    ],
)
def test_what_cannot_be_the_same_is_named(
    finder: MentionFinder, analyser: Analyser, a: str, b: str, expected: list[tuple[str, str, str]]
) -> None:
    assert _conflicts(finder, analyser, a, b) == expected
    assert _conflicts(finder, analyser, b, a) == [(kind, y, x) for kind, x, y in expected]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("金狮苑七栋电梯困人", "金狮苑7栋的电梯又困人"),  # numerals in words and in digits
        ("十三号楼顶漏水", "13栋楼顶漏水"),  # units that mean the same
        ("停水三天了", "停水快一周了"),  # counts that only describe
        ("有200多户受影响", "近两百户受影响"),
        ("云岩区金狮苑路灯坏了", "金狮苑小区的路灯不亮"),  # one names the district, the other does not
        ("老旧小区没有电梯", "我们小区没有电梯"),  # everyday words name no place
    ],
)
def test_harmless_differences_are_no_conflict(finder: MentionFinder, analyser: Analyser, a: str, b: str) -> None:
    assert _conflicts(finder, analyser, a, b) == []


def test_leanings(finder: MentionFinder, analyser: Analyser) -> None:
    plus, minus = finder(analyser("建议延长开放时间")), finder(analyser("反对延长，请缩短开放时间，缩短"))
    assert min(opposed(plus, minus)) < 0
    assert min(opposed(plus, plus)) >= 0


def test_traditional_characters_are_read_like_simplified(finder: MentionFinder, analyser: Analyser) -> None:
    assert _conflicts(finder, analyser, "清水農貿市場漏雨", "清溪农贸市场漏雨") == [
        ("place", "清水農貿市場", "清溪农贸市场")
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kind\tgroup\twords\nnoun\t\tx\n", "第 2 行：kind 是 'noun'，应为 suffix、for、against、unit、amount 之一"),
        ("kind\tgroup\twords\nsuffix\t\t路\nfor\tg\t加\n", "for 与 against 的组名要成对"),
        ("word\n", "表头应为 kind、group、words"),
    ],
)
def test_a_bad_word_list_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "matching.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        MentionFinder(path, {})
