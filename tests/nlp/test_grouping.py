from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from nlp.grouping import Group, complete_linkage


def grades(**pairs: float) -> dict[tuple[int, int], float]:
    """``_12=0.9`` is the pair (1, 2)."""
    return {(int(name[1]), int(name[2])): value for name, value in pairs.items()}


def group(known: dict[tuple[int, int], float]) -> list[Group]:
    return complete_linkage(list(known), lambda pairs: [known.get(pair) for pair in pairs])


def test_nothing_gives_nothing() -> None:
    assert complete_linkage([], lambda pairs: [1.0 for _ in pairs]) == []
    assert complete_linkage([(1, 2)], lambda pairs: [None for _ in pairs]) == []
    assert complete_linkage([(1, 1)], lambda pairs: [1.0 for _ in pairs]) == []


def test_a_chain_is_cut_at_its_weaker_link() -> None:
    assert group(grades(_12=0.9, _23=0.8)) == [Group((1, 2), 0.9)]
    assert group(grades(_12=0.8, _23=0.9)) == [Group((2, 3), 0.9)]


def test_a_chain_of_equal_links_is_cut_the_same_way_every_time() -> None:
    assert group(grades(_12=0.9, _23=0.9, _34=0.9)) == [Group((1, 2), 0.9), Group((3, 4), 0.9)]


def test_a_whole_group_carries_its_least_probability() -> None:
    assert group(grades(_12=0.9, _13=0.7, _23=0.8)) == [Group((1, 2, 3), 0.7)]


def test_a_pair_that_was_no_candidate_is_asked_before_a_join() -> None:
    asked: list[tuple[int, int]] = []

    def grade(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        asked.extend(pairs)
        return [0.9 for _ in pairs]

    assert complete_linkage([(2, 1), (2, 3)], grade) == [Group((1, 2, 3), 0.9)]
    assert asked == [(1, 2), (2, 3), (1, 3)]


def test_pairs_that_no_join_depends_on_are_not_asked() -> None:
    known = grades(_12=0.9, _13=0.8, _45=0.7)
    asked: list[tuple[int, int]] = []

    def grade(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        asked.extend(pairs)
        return [known.get(pair) for pair in pairs]

    # 2 and 3 are asked about, as 1 is near both; 2 and 4 are not, as 1 and 4 are known to be two matters.
    assert complete_linkage([*known, (1, 4)], grade) == [Group((1, 2), 0.9), Group((4, 5), 0.7)]
    assert sorted(asked) == [(1, 2), (1, 3), (1, 4), (2, 3), (4, 5)]


@given(st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda p: p[0] < p[1]),
                       st.sampled_from([None, 0.6, 0.7, 0.8, 0.9]), max_size=45), st.randoms())  # fmt: skip
def test_every_pair_inside_is_duplicate_and_no_two_groups_could_join(known, random) -> None:  # type: ignore[no-untyped-def]
    asked: list[tuple[int, int]] = []

    def grade(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        asked.extend(pairs)
        return [known.get(pair) for pair in pairs]

    order = [pair[::-1] if random.random() < 0.5 else pair for pair in known]
    random.shuffle(order)
    found = complete_linkage(order, grade)
    assert len(asked) == len(set(asked))
    assert found == complete_linkage(list(known), grade)
    keys = [key for one in found for key in one.keys]
    assert len(keys) == len(set(keys))
    for one in found:
        inside = [known.get(pair) for pair in combinations(one.keys, 2)]
        assert None not in inside
        assert min(inside) == one.probability
    alone = [(key,) for key in range(10) if key not in keys]
    for left, right in combinations([one.keys for one in found] + alone, 2):
        assert any(known.get((min(a, b), max(a, b))) is None for a in left for b in right)
