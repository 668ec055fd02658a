from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp.document import Analyser
from nlp.similar import matching_sentences, nearest
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
