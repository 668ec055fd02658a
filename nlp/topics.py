"""Topics: texts grouped by matter of fact, on two levels, so that a group stays itself when others arrive.

Two texts are as near as two views of them say together: the encoder's vectors and their words (TF-IDF). Groups are
made by average linkage (Sokal & Michener 1958): deterministic, no seed, and a text belongs to a group when it is near
*on average* to all of it. Because the similarity is an inner product, that average is one product with the group's
mean, and the same rule lets later arrivals in: groups never have to be made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import regex
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform
from sklearn.feature_extraction.text import TfidfVectorizer

from nlp.contracts import FloatArray

Labels = NDArray[np.int64]
Rows = Sequence[int] | NDArray[np.int64]
NONE = -1
# Share of the words in the similarity; the vectors have the rest. All numbers here: bench/topics.py, docs/decisions.md.
WORDS = 0.5
# The cosine of two texts with nothing in common: vectors of one encoder crowd together. Measured where there are
# many texts, else that of the shipped encoder on mixed submissions.
FLOOR = 0.87
_MANY = 200
# Mean similarity from which a text belongs to a concrete topic, a topic to a broad one, a loose text to a broad one,
# and a piece of past work to a topic.
CONCRETE, BROAD, LOOSE, STUDIED = 0.23, 0.1, 0.1, 0.19
# Overlap (Jaccard) from which a topic that was made again is the one it was.
_SAME = 0.3
MIN_SIZE = 3
# Texts linked at once: bounds time and memory, which grow with its square.
WINDOW = 4000
# How much being central counts against being unlike those already chosen.
_CENTRAL = 0.7
_HAN = regex.compile(r"\p{Han}{2,}")
# Above so much of all texts a word tells nothing; below so many texts all words count.
_COMMON = 0.2
_FEW = 20


@dataclass(frozen=True)
class Points:
    """n texts in the space: float32 (n, d) and float32 csr (n, V); similarity is the sum of both inner products."""

    dense: FloatArray
    sparse: csr_matrix

    def __len__(self) -> int:
        return len(self.dense)

    def take(self, rows: Rows) -> Points:
        """The points of some rows, in the order given."""
        return Points(self.dense[rows], self.sparse[rows])

    def means(self, groups: Sequence[Rows]) -> Points:
        """The mean of each group of rows; an empty group is a point that is near nothing."""
        rows = [row for group in groups for row in group]
        shares = [1 / len(group) for group in groups for _ in group]
        starts = np.cumsum([0, *map(len, groups)])
        weights = csr_matrix((np.array(shares, dtype=np.float32), rows, starts), shape=(len(groups), len(self)))
        return Points(np.asarray(weights @ self.dense), (weights @ self.sparse).tocsr())


class Space:
    """The texts of a collection as points. ``vectors`` float32 (n, d), rows L2 = 1; ``words``: of each, in order."""

    def __init__(self, vectors: FloatArray, words: Sequence[Sequence[str]]) -> None:
        self._vectorizer = _vectorizer(words)
        # The mean cosine of a pair is the squared length of the mean vector.
        many = len(words) >= _MANY
        self._floor = float(np.sum(vectors.mean(axis=0, dtype=np.float64) ** 2)) if many else FLOOR
        self.all = self.points(vectors, words)

    def points(self, vectors: FloatArray, words: Sequence[Sequence[str]]) -> Points:
        """Texts, also other ones, as points of this space."""
        dense = np.asarray(vectors * np.sqrt((1 - WORDS) / (1 - self._floor)), dtype=np.float32)
        if self._vectorizer is None:
            return Points(dense, csr_matrix((len(words), 1), dtype=np.float32))
        return Points(dense, (self._vectorizer.transform(words) * np.float32(WORDS**0.5)).tocsr())

    def similarities(self, left: Points, right: Points) -> FloatArray:
        """float32 (len(left), len(right)); 1 for a text with itself, about 0 for two that have nothing in common."""
        shift = np.float32((1 - WORDS) * self._floor / (1 - self._floor))
        return np.asarray(left.dense @ right.dense.T + (left.sparse @ right.sparse.T).toarray() - shift)

    def near(self, points: Points, groups: Sequence[Rows]) -> FloatArray:
        """float32 (len(points), len(groups)): mean similarity to the members of each group; -1 to an empty one."""
        found = self.similarities(points, self.all.means(groups))
        found[:, [not len(group) for group in groups]] = -1
        return found


def _telling(words: Sequence[str]) -> list[str]:
    """Words of at least two Chinese characters: the others say where or how many, not what."""
    return [word for word in words if _HAN.fullmatch(word)]


def _vectorizer(words: Sequence[Sequence[str]]) -> TfidfVectorizer | None:
    """TF-IDF of the collection's words; None where it has none that tell texts apart."""
    few = len(words) < _FEW
    vectorizer = TfidfVectorizer(
        analyzer=_telling, sublinear_tf=True, dtype=np.float32, min_df=1 if few else 2, max_df=1.0 if few else _COMMON
    )
    try:
        return vectorizer.fit(words)
    except ValueError:  # sklearn's word for an empty vocabulary
        return None


@dataclass(frozen=True)
class Grouping:
    """``labels`` int64 (n, 2): concrete and broad topic of each text, NONE for none; ``parents``: concrete → broad.

    ``new_topics``: numbers that were not there before; ``changed`` bool (n,): rows whose labels are not those given.
    """

    labels: Labels
    parents: Mapping[int, int | None]
    new_topics: tuple[int, ...]
    changed: NDArray[np.bool_] = field(repr=False)

    def renumbered(self, before: Labels, kept: set[int]) -> Grouping:
        """New topics under the numbers of those in ``before`` they mostly consist of, one each (Jaccard ≥ 0.3).

        Numbers in ``kept`` are still in use and are not given away.
        """
        names: dict[int, int] = {}
        for column in (0, 1):
            new = [t for t in self.new_topics if (t in self.parents) == (column == 0)]
            old = sorted(set(before[:, column].tolist()) - kept - {NONE})
            names |= _matched(self.labels[:, column], new, before[:, column], old)
        turned = (
            np.vectorize(lambda n: names.get(n, n), otypes=[np.int64])(self.labels) if self.labels.size else self.labels
        )
        parents = {names.get(t, t): None if p is None else names.get(p, p) for t, p in self.parents.items()}
        new_topics = tuple(names.get(t, t) for t in self.new_topics)
        return Grouping(turned, parents, new_topics, (turned != before).any(axis=1))


def _matched(now: Labels, new: Sequence[int], before: Labels, old: Sequence[int]) -> dict[int, int]:
    if not new or not old:
        return {}
    table = np.array(
        [[np.sum((now == a) & (before == b)) / np.sum((now == a) | (before == b)) for b in old] for a in new]
    )
    left, right = linear_sum_assignment(-table)
    return {new[i]: old[j] for i, j in zip(left, right, strict=True) if table[i, j] >= _SAME}


def grow(
    space: Space, labels: Labels, parents: Mapping[int, int | None], broads: set[int], last: int,
    arrived: Rows | None = None,
) -> Grouping:  # fmt: skip
    """Put loose texts into the topics there are, and make new topics of those left over.

    ``labels`` int64 (n, 2): where each text of the space is, NONE for nowhere; a text that is in a concrete topic stays
    there. ``parents``: every concrete topic → its broad one; ``broads``: every broad one; new topics are numbered from
    ``last`` + 1. ``arrived``: rows that were never looked at, in order (default: all loose ones).
    """
    growth = _Growth(space, labels.copy(), dict(parents), set(broads), last)
    loose = np.flatnonzero(labels[:, 0] == NONE)
    rows = loose if arrived is None else np.asarray(arrived, dtype=np.int64)
    for start in range(0, len(rows), WINDOW // 2):
        growth.take_in(rows[start : start + WINDOW // 2])
    growth.lift()
    return Grouping(growth.labels, growth.parents, tuple(growth.new), (growth.labels != labels).any(axis=1))


@dataclass
class _Growth:
    """The topics while texts are put into them."""

    space: Space
    labels: Labels
    parents: dict[int, int | None]
    broads: set[int]
    last: int
    new: list[int] = field(default_factory=list)

    def take_in(self, rows: NDArray[np.int64]) -> None:
        """Put some rows into concrete topics; what is left over makes new ones with the latest of the loose."""
        self._join(0, rows, sorted(self.parents), CONCRETE)
        loose = np.flatnonzero(self.labels[:, 0] == NONE)
        loose = loose[loose <= rows.max()][-WINDOW:]
        for group in _linked(self.space, self.space.all.take(loose), CONCRETE, MIN_SIZE):
            topic = self._number()
            self.parents[topic] = None
            self.labels[loose[group], 0] = topic

    def _join(self, column: int, rows: NDArray[np.int64], topics: Sequence[int], cut: float) -> None:
        """Put rows into the topic they are nearest to on average, where they are near enough."""
        if not len(topics) or not len(rows):
            return
        near = self.space.near(self.space.all.take(rows), [self._rows(column, topic) for topic in topics])
        best = near.argmax(axis=1)
        inside = near[np.arange(len(rows)), best] >= cut
        self.labels[rows[inside], column] = np.array(topics)[best[inside]]

    def lift(self) -> None:
        """Give every concrete topic a broad one, and put loose texts into broad topics where they are near."""
        self._adopt()
        orphans = [topic for topic, parent in self.parents.items() if parent is None]
        means = self.space.all.means([self._rows(0, topic) for topic in orphans])
        for group in _linked(self.space, means, BROAD, 1):
            broad = self._number()
            self.broads.add(broad)
            self.parents |= {orphans[i]: broad for i in group}
        self._settle()
        loose = np.flatnonzero((self.labels[:, 0] == NONE) & (self.labels[:, 1] == NONE))
        self._join(1, loose, sorted(self.broads), LOOSE)

    def _adopt(self) -> None:
        """Give concrete topics without a broad one the nearest there is."""
        orphans = [topic for topic, parent in self.parents.items() if parent is None]
        broads = sorted(self.broads)
        if not orphans or not broads:
            return
        means = self.space.all.means([self._rows(0, topic) for topic in orphans])
        near = self.space.near(means, [self._rows(1, broad) for broad in broads])
        for topic, scores in zip(orphans, near, strict=True):
            if scores.max() >= BROAD:
                self.parents[topic] = broads[int(scores.argmax())]

    def _settle(self) -> None:
        """Texts of a concrete topic are in its broad one."""
        for topic, broad in self.parents.items():
            self.labels[self._rows(0, topic), 1] = NONE if broad is None else broad

    def _rows(self, column: int, topic: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.labels[:, column] == topic)

    def _number(self) -> int:
        self.last += 1
        self.new.append(self.last)
        return self.last


def _linked(space: Space, points: Points, cut: float, least: int) -> Iterator[NDArray[np.int64]]:
    """Groups by average linkage with a mean similarity of at least ``cut`` and ``least`` members, by first member."""
    if len(points) < 2:
        if len(points) >= least:
            yield np.arange(len(points))
        return
    distances = np.maximum(1 - space.similarities(points, points), 0)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform((distances + distances.T) / 2, checks=False), "average")
    groups = fcluster(tree, 1 - cut, "distance")
    _, firsts = np.unique(groups, return_index=True)
    for first in np.sort(firsts):
        members = np.flatnonzero(groups == groups[first])
        if len(members) >= least:
            yield members


def diverse(space: Space, rows: Rows, limit: int) -> list[int]:
    """Places in ``rows`` of texts that are central and unlike each other (Carbonell & Goldstein 1998), best first."""
    points = space.all.take(rows)
    if not len(points):
        return []
    between = space.similarities(points, points)
    central = between.mean(axis=1)
    chosen: list[int] = []
    while len(chosen) < min(limit, len(points)):
        said = between[:, chosen].max(axis=1) if chosen else np.zeros(len(points))
        scores = _CENTRAL * central - (1 - _CENTRAL) * said
        scores[chosen] = -np.inf
        chosen.append(int(scores.argmax()))
    return chosen
