"""From the features of two texts to a grade: two models, averaged as log-probabilities.

A multinomial logistic regression, and small boosted trees (Friedman 2001), which know that a clash of names matters
only where the texts are otherwise alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from nlp.contracts import Relation

RELATIONS: tuple[Relation, ...] = ("duplicate", "related", "unrelated")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trees:
    """Boosted regression trees as arrays (T, n) of nodes; tree t adds to the score of grade t % 3.

    A row goes left at a node where its ``feature`` is at most ``threshold``, in float32 as it was fitted; a leaf is
    its own child. ``values``: what a leaf adds, in log-odds; ``prior`` (3,): where the scores start.
    """

    prior: Array
    feature: NDArray[np.int32]
    threshold: Array
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    values: Array

    def scores(self, x: Array) -> Array:
        """float64 (n, 3): scores of rows of features, before softmax."""
        tree, row, rounded = np.arange(len(self.feature))[None, :], np.arange(len(x))[:, None], x.astype(np.float32)
        node = np.zeros((len(x), len(self.feature)), dtype=np.int32)
        while True:
            lower = rounded[row, self.feature[tree, node]] <= self.threshold[tree, node]
            following = np.where(lower, self.left[tree, node], self.right[tree, node])
            if (following == node).all():
                break
            node = following
        found = self.values[tree, node].reshape(len(x), -1, len(RELATIONS)).sum(axis=1) + self.prior
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Grading:
    """From F features to grades: weights (F, 3), bias (3,) on features less centre (F,) over scale (F,); and trees."""

    weights: Array
    bias: Array
    centre: Array
    scale: Array
    trees: Trees

    def probabilities(self, x: Array) -> Array:
        """float64 (n, 3): the grades' probabilities for rows of features."""
        linear = (x - self.centre) / self.scale @ self.weights + self.bias
        both = log_softmax(linear, axis=1) + log_softmax(self.trees.scores(x), axis=1)
        return np.asarray(softmax(both / 2, axis=1), dtype=np.float64)
