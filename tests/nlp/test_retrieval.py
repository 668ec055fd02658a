from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.contracts import FloatArray
from nlp.document import Analyser
from nlp.retrieval import TermIndex, VectorIndex, best, fuse
from nlp.themes import search_terms

WORDS = st.lists(st.sampled_from(["路灯", "小区", "油烟", "学位", "翠湖", "坏", "的"]), max_size=12)


def rows(n: int, dimension: int, seed: int) -> FloatArray:
    found = np.random.default_rng(seed).normal(size=(n, dimension)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_best_leaves_out_what_is_not_finite_and_orders_ties_by_key() -> None:
    keys = np.array([7, 3, 9, 5])
    scores = np.array([1.0, 1.0, -np.inf, 2.0])
    assert [(n.key, n.score) for n in best(scores, keys, 10)] == [(5, 2.0), (3, 1.0), (7, 1.0)]
    assert [n.key for n in best(scores, keys, 2)] == [5, 3]
    assert best(scores[:0], keys[:0], 3) == best(scores, keys, 0) == []


def test_fusion_by_hand() -> None:
    # 2: 1/62 + 1/61; 1: 1/61 + 1/63; 3: 1/63; 4: 1/62
    assert fuse(([1, 2, 3], [2, 4, 1]), 10) == [2, 1, 4, 3]
    assert fuse(([1, 2, 3], [2, 4, 1]), 2) == [2, 1]
    assert fuse(([5, 6], [6, 5]), 2) == [5, 6]  # a tie: as the first ranking has it
    assert fuse((), 3) == fuse(([], []), 3) == []


def brute_force(texts: dict[int, list[str]], query: Sequence[str], limit: int) -> list[tuple[int, float]]:
    """BM25 as in the literature, a text at a time."""
    mean = sum(map(len, texts.values())) / max(1, len(texts))
    scores = {}
    for key, words in texts.items():
        counts, score = Counter(words), 0.0
        for word in set(query) & set(words):
            having = sum(word in other for other in texts.values())
            idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            length = 1 - 0.75 + 0.75 * len(words) / max(mean, 1)
            score += idf * counts[word] * 2.2 / (counts[word] + 1.2 * length)
        if score:
            scores[key] = score
    return sorted(scores.items(), key=lambda item: (-round(item[1], 9), item[0]))[:limit]


@given(st.lists(st.tuples(st.integers(1, 6), WORDS), max_size=15), WORDS, st.integers(0, 5))
def test_bm25_is_exact_after_any_changes(steps: list[tuple[int, list[str]]], query: list[str], limit: int) -> None:
    index, texts = TermIndex(), {}
    for key, words in steps:  # a key that comes again is a revised text
        index.put(key, words)
        texts[key] = words
    assert len(index) == len(texts)
    found = index.rank(query, limit)
    expected = brute_force(texts, query, limit)
    assert [n.score for n in found] == pytest.approx([score for _, score in expected])
    assert [n.score for n in found] == sorted((n.score for n in found), reverse=True)
    everything = dict(brute_force(texts, query, len(texts)))
    assert all(everything[n.key] == pytest.approx(n.score) for n in found)


def test_bm25_ranks_only_what_is_allowed() -> None:
    index = TermIndex()
    for key in range(10):
        index.put(key, ["路灯", "坏"] if key % 2 else ["路灯"])
    assert [n.key for n in index.rank(["坏"], 3)] == [1, 3, 5]
    assert [n.key for n in index.rank(["坏"], 3, np.array([0, 5, 7, 9]))] == [5, 7, 9]
    assert index.rank(["坏"], 3, np.array([], dtype=np.int64)) == []
    assert index.rank(["没有的词"], 3) == index.rank([], 3) == TermIndex().rank(["坏"], 3) == []


# Vectors


@given(st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=8), st.integers(0, 12), st.integers(0, 999))
def test_vectors_follow_any_changes(batches: list[list[int]], limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = VectorIndex()
    expected: dict[int, FloatArray] = {}
    for turn, batch in enumerate(batches):
        keys = sorted(set(batch))
        vectors = rows(len(keys), 6, seed + turn)
        index.put(keys, vectors)
        expected |= dict(zip(keys, vectors, strict=True))
        query, allowed = rows(1, 6, seed - turn + 5000)[0], rng.random(len(expected)) < 0.5
        assert index.keys.tolist() == sorted(expected)
        for mask in (None, allowed):
            chosen = [k for k, a in zip(sorted(expected), allowed, strict=True) if mask is None or a]
            best_first = sorted(chosen, key=lambda k: -float(expected[k] @ query))[:limit]
            assert [n.key for n in index.rank(query, limit, mask)] == best_first
    for key in range(31):
        cosine = index.cosine(query, key) if expected else None
        assert cosine == (pytest.approx(float(expected[key] @ query)) if key in expected else None)


def test_a_filter_never_yields_fewer_than_pass() -> None:
    index = VectorIndex()
    index.put(range(100), rows(100, 8, 3))
    for passing in (0, 1, 3, 12, 13, 60, 100):
        allowed = np.arange(100) < passing
        found = index.rank(rows(1, 8, 4)[0], 20, allowed)
        assert len(found) == min(20, passing)
        assert all(n.key < passing for n in found)


# Both together


def test_the_fused_candidates_hold_the_nearest_vectors_and_the_rare_word() -> None:
    """What retrieval promises: recall of the brute-force ten, and what only a rare word tells."""
    n = 600
    data, queries = rows(n, 32, 7), rows(30, 32, 8)
    vectors, terms = VectorIndex(), TermIndex()
    vectors.put(range(n), data)
    rng = np.random.default_rng(9)
    for key in range(n):
        terms.put(key, [f"词{w}" for w in rng.integers(50, size=20)] + (["翠湖雅苑"] if key == 123 else []))
    hits = 0
    for query in queries:
        nearest = set(np.argsort(-(data @ query))[:10].tolist())
        ranked = [m.key for m in vectors.rank(query, 10)], [m.key for m in terms.rank(["词1", "翠湖雅苑"], 5)]
        assert ranked[1][0] == 123
        candidates = fuse(ranked, 15)
        hits += len(nearest & set(candidates))
        assert 123 in candidates
    assert hits / (10 * len(queries)) >= 0.99


def test_search_terms_keep_places_and_numbers_and_drop_courtesies_and_personal_data(analyser: Analyser) -> None:
    document = analyser("尊敬的领导：您好！花果园R区2栋的路灯坏了，电话13812345678。谢谢！")
    words = search_terms(document)
    assert {"花果园", "2", "路灯"} <= set(words)
    assert not {"尊敬", "领导", "谢谢", "13812345678"} & set(words)
    assert all(word == word.lower() and word.split() == [word] for word in words)
    assert search_terms(analyser("谢谢领导")) == ["谢谢", "领导"]  # nothing else is said
    assert search_terms(analyser("🙂")) == []
