from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.errors import InputError
from nlp.normalise import normalise, validate

TEXT = st.text(
    st.one_of(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"),
        st.sampled_from("强省会３①²，。！\r\n\t \u200b\ufeff㎡ﬁ貴陽臺𠮷👨\u200d👩🙂é"),
    )
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("２０２１①年", "2021①年"),  # NFKC on the whole would give 20211
        ("３，４", "3，4"),  # NFKC on the whole would give 3,4
        ("面积100㎡，m²", "面积100m2，m²"),
        ("ＡＢＣ　ｗｉｆｉ", "ABC wifi"),
        ("貴陽市觀山湖區", "贵阳市观山湖区"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("零\u200b宽\ufeff字符", "零宽字符"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("138\u200d1234", "1381234"),  # a joiner between digits only hides them
        ("", ""),
    ],
)
def test_normalise_keeps_what_readers_see(text: str, expected: str) -> None:
    assert normalise(text).text == expected


@given(TEXT)
def test_every_character_maps_back_into_the_original(text: str) -> None:
    result = normalise(text)
    assert len(result.text) == len(result.starts) == len(result.ends)
    assert list(result.starts) == sorted(result.starts)
    for start, end in zip(result.starts, result.ends, strict=True):
        assert 0 <= start < end <= len(text)


@given(TEXT)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text).text
    assert normalise(once).text == once


def test_original_slices_the_submitted_text() -> None:
    text = "面积１００㎡，貴陽"
    result = normalise(text)
    start = result.text.index("m2")
    assert text[slice(*result.original(start, start + 2))] == "㎡"
    start = result.text.index("贵阳")
    assert text[slice(*result.original(start, start + 2))] == "貴陽"


@pytest.mark.parametrize(
    ("value", "type", "named"),
    [
        ("", "empty", "内容为空"),
        (" \n\t", "empty", "内容为空"),
        ("\x1b\u200b ", "empty", "内容为空"),
        ("a\0b", "invalid_character", "第 2 个字符是空字符"),
        ("ab\ud83d", "invalid_character", "第 3 个字符是不成对的代理码 U+D83D"),
        ("字" * 11, "too_long", "最多 10 个字符，实为 11 个"),
        (5, "invalid_type", "应为文字，实为 int"),
        (None, "missing_field", "缺少该字段"),
    ],
)
def test_validate_names_field_and_reason(value: object, type: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(value, "text", 10)
    assert (caught.value.type, caught.value.field) == (type, "text")
    assert named in caught.value.detail


def test_validate_accepts_one_character_emoji_and_empty_optional() -> None:
    assert validate("停", "text") == "停"
    assert validate("🙂", "text") == "🙂"
    assert validate(None, "title", required=False) == ""
