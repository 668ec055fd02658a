"""From the features of two texts to a grade: two models, averaged as log-probabilities, and a prior for where they met.

A multinomial logistic regression, and small boosted trees (Friedman 2001), which know that a clash of names matters
only where the texts are otherwise alike. Both tell from which *source* a pair of texts comes, and a source stands for a
grade. How common each source is depends on how two texts came to be compared, so the probabilities are corrected for
the prior of that context (Saerens, Latinne, Decaestecker 2002): of two texts that somebody puts side by side, as many
are duplicates as not; of those that a search brings together, nearly all are two people's letters on like matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from nlp.contracts import Context, Relation

RELATIONS: tuple[Relation, ...] = ("duplicate", "related", "unrelated")

# Source of a pair → the grade it stands for: written pairs, letters written apart, and stretches of one letter.
SOURCES: Mapping[str, Relation] = {
    "duplicate": "duplicate", "related": "related", "unrelated": "unrelated",
    "apart_related": "related", "apart_unrelated": "unrelated", "stretches": "duplicate",
}  # fmt: skip
# Weight of each source in a context, against its weight in training. Chosen by cross-validation, those of a search also
# on real messages (docs/model-card.md); written duplicates count less because a false one costs more than a missed one.
PRIORS: Mapping[Context, Sequence[float]] = {
    "compare": (0.8, 1.0, 1.0, 0.1, 0.1, 0.0),
    "search": (0.6, 1.0, 1.0, 3.0, 3.0, 1.0),
}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Boosted regression trees as arrays (T, n) of nodes; tree t adds to the score of source t % K.

    A row goes left at a node where its ``feature`` is at most ``threshold``, in float32 as it was fitted; a leaf is
    its own child. ``values``: what a leaf adds, in log-odds; ``prior`` (K,): where the scores start.
    """

    prior: Array
    feature: NDArray[np.int32]
    threshold: Array
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: Array

    def scores(self, x: Array) -> Array:
        """float64 (n, K): scores of rows of features, before softmax."""
        tree, row, rounded = np.arange(len(self.feature))[None, :], np.arange(len(x))[:, None], x.astype(np.float32)
        node = np.zeros((len(x), len(self.feature)), dtype=np.int32)
        while True:
            lower = rounded[row, self.feature[tree, node]] <= self.threshold[tree, node]
            following = np.where(lower, self.left[tree, node], self.right[tree, node])
            if (following == node).all():
                break
            node = following
        found = self.values[tree, node].reshape(len(x), -1, len(self.prior)).sum(axis=1) + self.prior
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Grading:
    """From F features to grades, by way of K ``sources``.

    weights (F, K), bias (K,) on features less centre (F,) over scale (F,); and trees.
    """

    sources: tuple[str, ...]
    weights: Array
    bias: Array
    centre: Array
    scale: Array
    trees: Trees

    def probabilities(self, x: Array, context: Context) -> Array:
        """float64 (n, 3): the grades' probabilities for rows of features, rows summing to 1."""
        linear = (x - self.centre) / self.scale @ self.weights + self.bias
        both = (log_softmax(linear, axis=1) + log_softmax(self.trees.scores(x), axis=1)) / 2
        weighed = np.exp(both - both.max(axis=1, keepdims=True)) @ _folding(self.sources, context)
        return np.asarray(weighed / weighed.sum(axis=1, keepdims=True), dtype=np.float64)


def _folding(sources: Sequence[str], context: Context) -> Array:
    """float64 (K, 3): the prior of each source in a context, in the column of its grade."""
    priors = dict(zip(SOURCES, PRIORS[context], strict=True))
    return np.array([[priors[s] if SOURCES[s] == relation else 0.0 for relation in RELATIONS] for s in sources])
