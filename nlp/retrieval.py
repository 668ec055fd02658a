"""Retrieval of candidates: exact nearest vectors, BM25 over words, and their fusion. No database, no HTTP.

Vectors find what is said in other words, BM25 the rare word (an estate, a line number) that vectors blur. The two
rankings have scores on different scales, so they are fused by rank (reciprocal rank fusion, Cormack et al. 2009).
Both indexes are kept in memory and follow the store one submission at a time, at a cost that depends on what changed
and not on what is stored.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp.contracts import FloatArray, Neighbour

Keys = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Usual values (Robertson & Zaragoza 2009): saturation of repeated words, and how far length is held against a text.
_K1 = 1.2
_B = 0.75
# The constant of reciprocal rank fusion, from the paper.
_RANK = 60


def best(scores: NDArray[np.floating[Any]], keys: Keys, limit: int) -> list[Neighbour]:
    """The ``limit`` highest of ``scores`` (n,) that are finite, with their keys: descending, ties by key."""
    limit = min(limit, len(scores))
    if limit <= 0:
        return []
    # Only the candidates are sorted; everything that ties with the last one is a candidate.
    cut = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    candidates = np.flatnonzero((scores >= cut) & np.isfinite(scores))
    order = np.lexsort((keys[candidates], -scores[candidates]))[:limit]
    return [Neighbour(int(keys[i]), float(scores[i])) for i in candidates[order]]


def fuse(rankings: Sequence[Sequence[int]], limit: int) -> list[int]:
    """Keys by the sum of 1 / (60 + rank) over the rankings they are in, at most ``limit``; ties by the first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, key in enumerate(ranking, 1):
            scores[key] = scores.get(key, 0.0) + 1 / (_RANK + rank)
    return sorted(scores, key=lambda key: -scores[key])[:limit]


class VectorIndex:
    """Exact nearest neighbours among vectors that come and change, by scanning all of them.

    A look-up costs one pass over the matrix; a submission that arrives or changes costs its own row.
    """

    def __init__(self) -> None:
        self._count = 0
        self._keys: Keys = np.zeros(0, dtype=np.int64)
        self._matrix: FloatArray = np.zeros((0, 0), dtype=np.float32)

    @property
    def keys(self) -> Keys:
        """int64 (n,), ascending; valid till the next change."""
        return self._keys[: self._count]

    @property
    def matrix(self) -> FloatArray:
        """float32 (n, d), rows L2 = 1, in the order of ``keys``; valid till the next change."""
        return self._matrix[: self._count]

    def put(self, keys: Sequence[int], rows: FloatArray) -> None:
        """Add or replace vectors: distinct ``keys``, ascending, and their rows (len(keys), d)."""
        if not len(keys):
            return
        given = np.asarray(keys, dtype=np.int64)
        at = np.searchsorted(self.keys, given)
        known = np.zeros(len(given), dtype=bool)
        known[at < self._count] = self.keys[at[at < self._count]] == given[at < self._count]
        if known.any():
            self._matrix[at[known]] = rows[known]
        if not known.all():
            self._add(given[~known], rows[~known])

    def _add(self, keys: Keys, rows: FloatArray) -> None:
        """New keys: at the end in room kept for them, or, where they are not the latest, into a new array."""
        count = self._count + len(keys)
        if self._count and keys[0] < self.keys[-1]:
            all_keys = np.concatenate([self.keys, keys])
            order = np.argsort(all_keys)
            rows = np.concatenate([self.matrix, rows])[order]
            keys, self._count = all_keys[order], 0
        if count > len(self._keys):
            room = count + count // 4
            kept_keys, kept = self.keys, self.matrix
            self._keys = np.zeros(room, dtype=np.int64)
            self._matrix = np.zeros((room, rows.shape[1]), dtype=np.float32)
            if self._count:
                self._keys[: self._count], self._matrix[: self._count] = kept_keys, kept
        self._keys[self._count : count], self._matrix[self._count : count] = keys, rows
        self._count = count

    def rank(self, query: FloatArray, limit: int, allowed: Mask | None = None) -> list[Neighbour]:
        """The ``limit`` nearest to ``query`` (d,) among those ``allowed`` (n,): cosines descending, ties by key."""
        if not self._count or limit <= 0:
            return []
        places = None if allowed is None else np.flatnonzero(allowed)
        if places is not None and len(places) <= max(limit, self._count // 8):
            return best(self.matrix[places] @ query, self.keys[places], limit)
        scores = self.matrix @ query
        if allowed is not None:
            scores[~allowed] = -np.inf
        return best(scores, self.keys, limit)

    def cosine(self, query: FloatArray, key: int) -> float | None:
        """The cosine of ``query`` and the vector of ``key``, None where it has none."""
        vector = self.get(key)
        return None if vector is None else float(vector @ query)

    def get(self, key: int) -> FloatArray | None:
        """The vector float32 (d,) of ``key``, None where it has none; valid till the next change."""
        place = int(np.searchsorted(self.keys, key))
        return self._matrix[place] if place < self._count and self._keys[place] == key else None


class TermIndex:
    """BM25 (Robertson & Zaragoza 2009, with the idf of Lucene, which is never negative) over lists of words.

    For every word the rows of the texts that have it and how often, in growing arrays. A text that changes gets a new
    row, and its old one is dead: adding costs as much as the text is long, where a sparse matrix would be copied.
    """

    def __init__(self) -> None:
        self._terms: dict[str, int] = {}
        self._rows: list[array[int]] = []
        self._counts: list[array[int]] = []
        self._keys: array[int] = array("q")
        self._lengths: array[int] = array("I")
        self._alive = bytearray()
        self._row_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def put(self, key: int, words: Sequence[str]) -> None:
        """Add or replace a text."""
        before = self._row_of.get(key)
        if before is not None:
            self._alive[before] = 0
        row = self._row_of[key] = len(self._keys)
        self._keys.append(key)
        self._lengths.append(len(words))
        self._alive.append(1)
        for word, count in Counter(words).items():
            term = self._terms.setdefault(word, len(self._rows))
            if term == len(self._rows):
                self._rows.append(array("I"))
                self._counts.append(array("I"))
            self._rows[term].append(row)
            self._counts[term].append(count)

    def rank(self, words: Sequence[str], limit: int, allowed: Keys | None = None) -> list[Neighbour]:
        """The ``limit`` texts that best match the distinct ``words``, of those whose key is ``allowed``.

        Scores > 0, descending, ties by key; texts that share no word are left out.
        """
        terms = [self._terms[word] for word in dict.fromkeys(words) if word in self._terms]
        if not terms or limit <= 0:
            return []
        alive = np.frombuffer(self._alive, dtype=bool)
        keys = np.frombuffer(self._keys, dtype=np.int64)
        lengths = np.frombuffer(self._lengths, dtype=np.uintc)
        norm = _K1 * (1 - _B + _B * lengths / max(float(lengths[alive].mean()), 1.0))
        scores = np.zeros(len(keys))
        for term in terms:
            rows = np.frombuffer(self._rows[term], dtype=np.uintc)
            counts = np.frombuffer(self._counts[term], dtype=np.uintc)
            texts = int(alive[rows].sum())
            idf = np.log(1 + (len(self) - texts + 0.5) / (texts + 0.5))
            scores[rows] += idf * counts * (_K1 + 1) / (counts + norm[rows])
        wanted = alive & (scores > 0)
        if allowed is not None:
            wanted &= np.isin(keys, allowed)
        places = np.flatnonzero(wanted)
        return best(scores[places], keys[places], limit)
