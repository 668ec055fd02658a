from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp.document import Analyser
from nlp.similar import added_sentences, matching_sentences, nearest
from tests.conftest import CharacterEncoder


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 2**16))
def test_nearest_is_exact_ordered_and_stable(n: int, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-2, 3, size=(n, 4)).astype(np.float32)  # small integers: many ties
    query = rng.integers(-2, 3, size=4).astype(np.float32)
    keys = [10 * i for i in range(n)]
    found = nearest(query, keys, matrix, limit)
    expected = sorted(((-float(row @ query), key) for key, row in zip(keys, matrix, strict=True)))[:limit]
    assert [(-f.score, f.key) for f in found] == expected


def test_the_demand_is_matched_not_the_greeting(analyser: Analyser) -> None:
    encoder = CharacterEncoder()
    a = analyser("尊敬的领导您好！小区门口的路灯坏了半个月。")
    b = analyser("尊敬的市长您好！我是退休工人。我们小区门口路灯坏了没人修。谢谢！")
    [left] = encoder.encode([a.normalised.text])
    [right] = encoder.encode([b.normalised.text])
    matches = matching_sentences(a, left, b, right)
    demand = next(m for m in matches if "路灯" in m.a.text)
    assert "路灯" in demand.b.text
    assert a.text[demand.a.start : demand.a.end] == demand.a.text
    assert b.text[demand.b.start : demand.b.end] == demand.b.text
    assert [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)
    assert len({(m.a.start, m.b.start) for m in matches}) == len(matches) <= 3


def test_identical_texts_match_sentence_by_sentence(analyser: Analyser) -> None:
    document = analyser("路灯坏了半个月没人修。井盖也松动了很危险。")
    [encoding] = CharacterEncoder().encode([document.normalised.text])
    matches = matching_sentences(document, encoding, document, encoding)
    assert [m.a.text for m in matches] == [m.b.text for m in matches]
    assert all(m.score > 0.999 for m in matches)


def _added(analyser: Analyser, lead: str, member: str) -> list[str]:
    a, b = analyser(lead), analyser(member)
    left, right = CharacterEncoder().encode([a.normalised.text, b.normalised.text])
    added = added_sentences(a, left, b, right)
    assert all(getattr(b, span.field)[span.start : span.end] == span.text for span in added)
    return [span.text for span in added]


def test_added_sentences_are_those_the_lead_does_not_say(analyser: Analyser) -> None:
    lead = "尊敬的领导：您好！小区门口的路灯坏了半个月没人修。"
    member = "书记您好！小区门口的路灯坏了半个月没人修。井盖也松动了，很危险。非常感谢！电话：13812345678。"
    assert _added(analyser, lead, member) == ["井盖也松动了，很危险。"]
    assert _added(analyser, lead, lead) == []
    assert _added(analyser, member, lead) == []


def test_a_known_demand_inside_a_longer_sentence_hides_nothing(analyser: Analyser) -> None:
    member = "小区门口的路灯坏了半个月没人修，电梯也总是停，物业电话打不通，还乱收停车费。"
    assert _added(analyser, "小区门口的路灯坏了半个月没人修。", member) == [member]
