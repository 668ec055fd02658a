from __future__ import annotations

import jieba
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.document import Analyser, Document
from nlp.errors import InputError
from nlp.normalise import normalise
from tests.nlp.test_normalise import TEXT


def _labels(document: Document) -> dict[str, str]:
    return {entity.text: entity.label for entity in document.entities}


@settings(max_examples=150, deadline=None)
@given(TEXT.filter(lambda text: normalise(text).text.strip()), st.one_of(st.none(), TEXT))
def test_tokens_spell_the_text_and_offsets_slice_the_original(analyser: Analyser, text: str, title: str | None) -> None:
    document = analyser(text, title)
    whole = document.normalised.text
    assert "".join(token.text for token in document.tokens) == whole
    assert all(whole[t.start : t.end] == t.text for t in document.tokens)
    assert all(whole[a:b].strip() == whole[a:b] != "" for a, b in document.sentences)
    for span in (*document.entities, *document.pii):
        assert getattr(document, span.field)[span.start : span.end] == span.text != ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The project's words stay whole.
        ("落实强省会和一圈两场三改", ["落实", "强省会", "和", "一圈两场三改"]),
        ("发展林下经济", ["发展", "林下经济"]),
        ("改善营商环境", ["改善", "营商环境"]),
        # … and do not tear their neighbours apart: 加强 + 环境治理, not 加 + 强环境.
        ("加强环境治理", ["加强", "环境治理"]),
        ("维修文物", ["维修", "文物"]),
    ],
)
def test_contested_segmentations(analyser: Analyser, text: str, expected: list[str]) -> None:
    assert [token.text for token in analyser(text).tokens] == expected


def test_entities_of_a_hotline_note(analyser: Analyser) -> None:
    text = "我住在观山湖区世纪城，2019年11月10日打12345反映路灯坏了，城管局说要300元，落实一圈两场三改。"
    labels = _labels(analyser(text))
    assert {"路灯": "FACILITY", "城管局": "UNIT", "2019年11月10日": "DATE", "300元": "NUMBER"}.items() <= labels.items()
    assert labels["一圈两场三改"] == "POLICY"
    assert "PLACE" in labels.values()


def test_places_by_form_and_by_anonymised_code(analyser: Analyser) -> None:
    labels = _labels(analyser("A3区魏家坡小区旁边，湄江镇的道路"))
    assert labels == {"A3区": "PLACE", "魏家坡小区": "PLACE", "湄江镇": "PLACE"}


def test_aliases_resolve_to_the_name_and_its_district(analyser: Analyser) -> None:
    [entity] = [e for e in analyser("地铁1号线太挤").entities if e.label == "PLACE"]
    assert (entity.text, entity.canonical) == ("地铁1号线", "贵阳轨道交通1号线")
    [district] = [e for e in analyser("住观山湖区").entities if e.label == "PLACE"]
    assert district.district == "观山湖区"


@pytest.mark.parametrize(
    ("text", "title", "expected"),
    [
        ("观山湖区世纪城的路灯坏了", None, "观山湖区"),
        ("世纪城的路灯坏了", "金阳的路灯", "观山湖区"),  # an estate, and a name of old
        ("花果园和南明区政府门前", None, "南明区"),
        ("从观山湖到花溪的公交", None, None),
        ("花溪大学城的公交", None, None),  # it lies in two
        ("贵阳的路灯坏了", None, None),
        ("维修文物", None, None),
        ("遵义的公交到观山湖", None, None),
        ("K市经开区的路灯坏了", None, None),  # anonymised: nobody knows where
    ],
)
def test_a_text_has_the_one_district_its_places_lie_in(
    analyser: Analyser, text: str, title: str | None, expected: str | None
) -> None:
    assert analyser(text, title).district == expected


def test_short_names_do_not_match_across_words(analyser: Analyser) -> None:
    assert _labels(analyser("居民宿舍公开阳光，移交警方处理")) == {}


def test_hotline_number_inside_a_telephone_number_is_not_the_hotline(analyser: Analyser) -> None:
    document = analyser("电话13812345678")
    assert [p.label for p in document.pii] == ["MOBILE"]
    assert _labels(document) == {}


def test_traditional_text_is_recognised_and_offsets_point_into_it(analyser: Analyser) -> None:
    text = "貴陽市觀山湖區的路燈壞了"
    assert "路燈" in _labels(analyser(text))


def test_sentences_end_at_line_breaks_with_indents(analyser: Analyser) -> None:
    document = analyser("尊敬的领导：\n\n　　路灯坏了半个月！！\n　　请尽快修。谢谢")
    text = document.normalised.text
    assert [text[a:b] for a, b in document.sentences] == ["尊敬的领导：", "路灯坏了半个月！！", "请尽快修。", "谢谢"]


def test_title_and_text_keep_their_own_offsets(analyser: Analyser) -> None:
    document = analyser("南明河发黑发臭", "观山湖区")
    assert [(e.field, e.start, e.text) for e in document.entities if e.label == "PLACE"] == [
        ("title", 0, "观山湖区"),
        ("text", 0, "南明河"),
    ]


def test_errors_name_the_field(analyser: Analyser) -> None:
    with pytest.raises(InputError, match="^text：内容为空"):
        analyser(" ")
    with pytest.raises(InputError, match="^title：第 1 个字符是空字符"):
        analyser("路灯坏了", "\0")


def test_the_global_jieba_is_left_alone(analyser: Analyser) -> None:
    assert analyser("一圈两场三改").tokens[0].text == "一圈两场三改"
    assert "一圈两场三改" not in (jieba.dt.FREQ or {})
