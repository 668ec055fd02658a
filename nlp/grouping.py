"""Pairs graded duplicate → groups in which every pair is: complete-linkage agglomeration.

Connected components chain: A like B and B like C puts A beside C, whatever the grade of A and C. Here two groups join
only where every pair across them is graded duplicate, and the most certain join comes first (Defays 1977).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

# Pairs outside the candidates that are graded at a time.
_PORTION = 32

Pair = tuple[int, int]
# P(duplicate) in [0, 1] of pairs (lower key first) that are graded duplicate, None of the others; in order.
Grade = Callable[[Sequence[Pair]], Sequence[float | None]]


@dataclass(frozen=True)
class Group:
    """Keys that belong together, ascending, at least two; ``probability`` is the least P(duplicate) of any pair."""

    keys: tuple[int, ...]
    probability: float


@dataclass(frozen=True)
class _Link:
    """Between two groups: the least grade known of the pairs across them, and the pairs not graded yet."""

    least: float
    ungraded: tuple[Pair, ...] = ()


def complete_linkage(pairs: Collection[Pair], grade: Grade) -> list[Group]:
    """Groups in which every pair is graded duplicate, by their least key.

    ``pairs`` are the candidates, in any order and direction. ``grade`` is asked once for each of them, and for other
    pairs across two groups only when these would be the next to join. Deterministic: equal joins by least key first.
    """
    candidates = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    members: dict[int, list[int]] = {key: [key] for pair in candidates for key in pair}
    links: dict[int, dict[int, _Link | None]] = {key: {} for key in members}  # None: not all pairs are duplicates
    heap: list[tuple[float, int, int]] = []

    def link(a: int, b: int, found: _Link | None) -> None:
        links[a][b] = links[b][a] = found
        if found:
            heapq.heappush(heap, (-found.least, min(a, b), max(a, b)))

    for (a, b), probability in zip(candidates, grade(candidates), strict=True):
        link(a, b, None if probability is None else _Link(probability))
    least = dict.fromkeys(members, 1.0)
    while heap:
        cost, a, b = heapq.heappop(heap)
        now = links[a].get(b) if a in members and b in members else None
        if now is None or now.least != -cost:
            continue  # one of the two has grown since
        if now.ungraded:  # what is not known can only make it weaker, so its turn may come later, or never
            link(a, b, _graded(now, grade))
            continue
        least[a] = now.least
        for other in sorted((links[a].keys() | links[b].keys()) - {a, b}):
            link(a, other, _weaker(*(_across(links[one].get(other, _NOTHING), members[one], members[other])
                                     for one in (a, b))))  # fmt: skip
        members[a] += members.pop(b)
        for other in links.pop(b):
            links[other].pop(b)
    found = [Group(tuple(sorted(keys)), least[key]) for key, keys in members.items() if len(keys) > 1]
    return sorted(found, key=lambda group: group.keys)


# Where no pair across two groups was a candidate.
_NOTHING = _Link(1.0)


def _across(link: _Link | None, left: Iterable[int], right: Sequence[int]) -> _Link | None:
    """The link between two groups; where there is none yet, with every pair across them to be graded."""
    if link is not _NOTHING:
        return link
    return _Link(1.0, tuple((min(a, b), max(a, b)) for a in left for b in right))


def _weaker(one: _Link | None, other: _Link | None) -> _Link | None:
    """What links the union of two groups to a third."""
    if one is None or other is None:
        return None
    return _Link(min(one.least, other.least), one.ungraded + other.ungraded)


def _graded(link: _Link, grade: Grade) -> _Link | None:
    """The link with all its pairs graded; None as soon as one of them is no duplicate."""
    least = link.least
    for start in range(0, len(link.ungraded), _PORTION):
        for probability in grade(link.ungraded[start : start + _PORTION]):
            if probability is None:
                return None
            least = min(least, probability)
    return _Link(least)
