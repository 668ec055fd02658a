"""Pairs graded duplicate → groups in which every pair is: complete-linkage agglomeration.

Connected components chain: A like B and B like C puts A beside C, whatever the grade of A and C. Here two groups join
only where every pair across them is graded duplicate, and the most certain join comes first (Defays 1977).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Keys that belong together, ascending, at least two; ``probability`` is the least P(duplicate) of any pair."""

    keys: tuple[int, ...]
    probability: float


def complete_linkage(pairs: Collection[tuple[int, int]], grade: Callable[[int, int], float | None]) -> list[Group]:
    """Groups in which every pair is graded duplicate, by their least key.

    ``pairs`` are the candidates, in any order and direction. ``grade(a, b)`` with a < b is P(duplicate) in [0, 1]
    where the pair is graded duplicate and None where it is not; it is asked once for each candidate, and once for
    each other pair that a join depends on. Deterministic: equal joins are made by least key.
    """
    members: dict[int, list[int]] = {key: [key] for pair in pairs for key in pair}
    links: dict[int, dict[int, float | None]] = {key: {} for key in members}
    for a, b in sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}):
        links[a][b] = links[b][a] = grade(a, b)
    heap = [(-p, a, b) for a in links for b, p in links[a].items() if p is not None and a < b]
    heapq.heapify(heap)
    least = dict.fromkeys(members, 1.0)
    while heap:
        cost, a, b = heapq.heappop(heap)
        if a not in members or b not in members or links[a].get(b) != -cost:
            continue  # one of the two has grown since
        joined = _joined_links(a, b, links, members, grade)
        least[a] = -cost
        members[a] += members.pop(b)
        for other in links.pop(b):
            links[other].pop(b)
        links[a] = joined
        for other, probability in joined.items():
            links[other][a] = probability
            if probability is not None:
                heapq.heappush(heap, (-probability, min(a, other), max(a, other)))
    found = [Group(tuple(sorted(keys)), least[key]) for key, keys in members.items() if len(keys) > 1]
    return sorted(found, key=lambda group: group.keys)


def _joined_links(
    a: int,
    b: int,
    links: dict[int, dict[int, float | None]],
    members: dict[int, list[int]],
    grade: Callable[[int, int], float | None],
) -> dict[int, float | None]:
    """What links the union of groups a and b to every group near either: the weaker link; None where there is none."""
    joined: dict[int, float | None] = {}
    for other in sorted((links[a].keys() | links[b].keys()) - {a, b}):
        weakest: float | None = 1.0
        for mine in (a, b):
            if weakest is None:
                break
            known = other in links[mine]
            link = links[mine][other] if known else _weakest(members[mine], members[other], grade)
            weakest = None if link is None else min(weakest, link)
        joined[other] = weakest
    return joined


def _weakest(left: list[int], right: list[int], grade: Callable[[int, int], float | None]) -> float | None:
    """The least grade across two groups; None as soon as one pair is no duplicate."""
    least = 1.0
    for a in left:
        for b in right:
            probability = grade(min(a, b), max(a, b))
            if probability is None:
                return None
            least = min(least, probability)
    return least
