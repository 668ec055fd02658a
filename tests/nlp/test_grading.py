from __future__ import annotations

import numpy as np
import pytest

from nlp.grading import PRIORS, RELATIONS, SOURCES, Grading, Trees


def _certain_of_nothing(sources: tuple[str, ...], p: list[float]) -> Grading:
    """A grading that gives every row the probabilities ``p`` of its sources, whatever the features."""
    count = len(sources)
    leaf = np.zeros((count, 1))
    trees = Trees(np.log(p), leaf.astype(np.int32), leaf, leaf.astype(np.int32), leaf.astype(np.int32), leaf)
    return Grading(sources, np.zeros((2, count)), np.log(p), np.zeros(2), np.ones(2), trees)


def test_a_context_weighs_the_sources_by_hand() -> None:
    sources = "duplicate", "related", "apart_unrelated"
    grading = _certain_of_nothing(sources, [0.5, 0.3, 0.2])
    for context, priors in PRIORS.items():
        weighed = np.array([0.5, 0.3, 0.2]) * [dict(zip(SOURCES, priors, strict=True))[s] for s in sources]
        found = grading.probabilities(np.ones((2, 2)), context)
        assert found.shape == (2, len(RELATIONS))
        assert found[0] == pytest.approx(weighed / weighed.sum())
        assert found[1] == pytest.approx(found[0])


def test_sources_of_one_grade_add_up() -> None:
    grading = _certain_of_nothing(("duplicate", "stretches", "related"), [0.25, 0.25, 0.5])
    duplicate, related, *_, stretches = PRIORS["search"]
    both = (duplicate + stretches) * 0.25
    expected = [both / (both + related * 0.5), related * 0.5 / (both + related * 0.5), 0]
    assert grading.probabilities(np.zeros((1, 2)), "search")[0] == pytest.approx(expected)


def test_a_search_needs_more_to_call_two_texts_duplicates() -> None:
    everything = tuple(SOURCES)
    grading = _certain_of_nothing(everything, [1 / 6] * 6)
    compared, searched = (grading.probabilities(np.zeros((1, 2)), context)[0] for context in ("compare", "search"))
    assert searched[0] < compared[0]
    assert {SOURCES[source] for source in everything} == set(RELATIONS)
