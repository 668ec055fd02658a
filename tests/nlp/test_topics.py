from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from nlp.contracts import FloatArray
from nlp.keyphrases import Namer, Words, name, phrases
from nlp.topics import CONCRETE, FLOOR, NONE, Grouping, Space, diverse, grow
from nlp.trends import Counts, benjamini_hochberg, trends

KINDS = ("渣土车 扬尘 道路", "补课 收费 学校", "电梯 故障 物业")


def texts(kinds: Sequence[int], seed: int = 0) -> tuple[FloatArray, list[list[str]]]:
    """One text a kind: vectors as far apart as those of the shipped encoder, words of the kind and one of its own."""
    random = np.random.default_rng(seed)
    common = np.zeros(40)
    common[0] = FLOOR**0.5
    vectors = []
    for kind in kinds:
        own = np.zeros(40)
        own[1 + kind] = (1 - FLOOR) ** 0.5
        noise = random.normal(size=40) * 0.002
        vectors.append(common + own + noise)
    matrix = np.array(vectors, dtype=np.float32).reshape(len(kinds), 40)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix, [[*KINDS[kind].split(), chr(0x4E00 + i) * 2] for i, kind in enumerate(kinds)]


def found(kinds: Sequence[int]) -> Grouping:
    return grow(Space(*texts(kinds)), np.full((len(kinds), 2), NONE), {}, set(), 0)


def partition(labels: Sequence[int]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(np.array(labels) == label).tolist()) for label in set(labels)}


def test_texts_of_one_kind_are_one_topic_whatever_their_order() -> None:
    kinds = [0, 1, 0, 2, 1, 0, 2, 1, 2]
    grouping = found(kinds)
    assert partition(grouping.labels[:, 0].tolist()) == partition(kinds)
    assert set(grouping.new_topics) == set(grouping.parents) | {p for p in grouping.parents.values() if p}
    for topic, broad in grouping.parents.items():
        assert set(grouping.labels[grouping.labels[:, 0] == topic, 1].tolist()) == {broad}
    order = np.random.default_rng(1).permutation(len(kinds))
    shuffled = found([kinds[i] for i in order])
    assert partition(shuffled.labels[np.argsort(order), 0].tolist()) == partition(kinds)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_texts_make_no_topic(count: int) -> None:
    grouping = found([0] * count)
    assert grouping.labels.tolist() == [[NONE, NONE]] * count
    assert (grouping.new_topics, dict(grouping.parents)) == ((), {})


def test_identical_texts_are_one_topic_and_texts_without_words_are_grouped_by_vector() -> None:
    vectors, _ = texts([0])
    same = np.repeat(vectors, 5, axis=0)
    for words in ([["路灯"]] * 5, [[]] * 5):
        grouping = grow(Space(same, words), np.full((5, 2), NONE), {}, set(), 7)
        assert grouping.labels.tolist() == [[8, 9]] * 5


def test_later_arrivals_join_and_nothing_that_was_there_moves() -> None:
    first = [0, 0, 0, 1, 1, 1]
    before = found(first)
    kinds = [*first, 1, 2, 0, 2]
    given = np.full((len(kinds), 2), NONE)
    given[:6] = before.labels
    broads = {p for p in before.parents.values() if p}
    after = grow(Space(*texts(kinds)), given, before.parents, broads, int(before.labels.max()), [6, 7, 8, 9])
    assert_array_equal(after.labels[:6], before.labels)
    assert_array_equal(after.labels[[6, 8]], before.labels[[3, 0]])
    assert after.labels[[7, 9]].tolist() == [[NONE, NONE]] * 2  # two are no topic
    assert after.changed.tolist() == [False] * 6 + [True, False, True, False]
    kinds.append(2)  # the third makes one of those left over
    given = np.vstack([after.labels, [[NONE, NONE]]])
    last = grow(Space(*texts(kinds)), given, after.parents, broads, int(after.labels.max()), [10])
    assert len(set(last.labels[[7, 9, 10], 0].tolist())) == 1
    assert last.new_topics[0] == int(after.labels.max()) + 1


def test_a_topic_that_is_made_again_keeps_its_number() -> None:
    before = found([0, 0, 0, 1, 1, 1, 1])
    space = Space(*texts([0, 0, 0, 1, 1, 1, 1, 2, 2, 2]))
    anew = grow(space, np.full((10, 2), NONE), {}, set(), 50)
    old = np.vstack([before.labels, np.full((3, 2), NONE)])
    again = anew.renumbered(old, set())
    assert_array_equal(again.labels[:7], before.labels)
    assert again.labels[7, 0] > 50
    assert set(again.new_topics) == set(again.parents) | {p for p in again.parents.values() if p}
    kept = anew.renumbered(old, {int(before.labels[0, 0])})  # still in use: not given away
    assert kept.labels[0, 0] > 50
    assert kept.labels[3, 0] == before.labels[3, 0]


def test_similarity_is_one_for_the_same_and_the_mean_over_members_for_a_group() -> None:
    space = Space(*texts([0, 0, 1]))
    between = space.similarities(space.all, space.all)
    assert_allclose(np.diag(between), 1, atol=1e-4)
    assert between[0, 1] > CONCRETE > between[0, 2]
    near = space.near(space.all, [[0, 1], [], [2]])
    assert_allclose(near[:, 0], between[:, :2].mean(axis=1), atol=1e-4)
    assert near[:, 1].tolist() == [-1, -1, -1]


def test_representatives_are_central_and_unlike_each_other() -> None:
    vectors, words = texts([0, 0, 0, 0, 1])
    vectors[1], words[1] = vectors[0], words[0]
    chosen = diverse(Space(vectors, words), range(5), 3)
    assert chosen[0] in {0, 1, 2, 3}
    assert not {0, 1} <= set(chosen)  # the same text twice tells nothing more
    assert diverse(Space(vectors, words), [], 3) == []
    assert len(diverse(Space(vectors, words), [2], 3)) == 1


def item(title: str, text: str, words: str) -> Words:
    return Words(words.split(), title, text)


def test_a_name_is_a_phrase_the_texts_say() -> None:
    items = {
        1: item("渣土车扬尘严重", "渣土车扬尘太大，希望解决", "渣土车 扬尘 严重 渣土车 扬尘 太 大 希望 解决"),
        2: item("渣土车扬尘没人管", "每天都有渣土车", "渣土车 扬尘 没人 管 每天 都 有 渣土车"),
        3: item("请管管渣土车扬尘", "扬尘飞到家里", "请 管管 渣土车 扬尘 扬尘 飞 到 家里"),
        4: item("学校补课收费", "学校补课收费问题", "学校 补课 收费 学校 补课 收费 问题"),
        5: item("学校路灯不亮", "路灯", "学校 路灯 不 亮 路灯"),
    }
    ranked = Namer(items, {"渣土车", "扬尘"}).ranked([1, 2, 3])
    assert ranked[0] == ("渣土车扬尘", 1.0)
    assert all(any(phrase in i.title or phrase in i.text for i in items.values()) for phrase, _ in ranked)
    assert name(ranked, set()) == "渣土车扬尘"
    assert not {"希望", "解决", "问题", "严重"} & {phrase for phrase, _ in ranked}


def test_a_name_is_whole_stands_for_most_texts_and_says_what_not_who() -> None:
    said = ["房屋 质量 市住建局", "房屋 质量 市住建局", "房屋 质量 排放 刺鼻", "质量 漏水", "电梯 困人", "电梯 困人"]
    items = {i: item("", words.replace(" ", ""), words) for i, words in enumerate([*said, "学校 补课", "学校 补课"])}
    ranked = Namer(items, {"市住建局"}).ranked(range(6))
    assert any("市住建局" in phrase for phrase, _ in ranked)
    ranked = Namer(items, (), {"市住建局"}).ranked(range(6))
    # Not 质量, which is mostly said in a longer phrase; then what the texts say that the first does not stand for.
    assert ranked == [("房屋质量", 0.5), ("电梯困人", pytest.approx(1 / 3))]
    assert "排放刺鼻" not in set(phrases(items[2]))  # a verb after a verb is a fragment


def test_a_name_that_is_taken_gets_a_second_phrase() -> None:
    ranked = [("公交线路", 0.9), ("司机态度", 0.4), ("晚点", 0.3)]
    assert name(ranked, set()) == "公交线路"
    assert name(ranked, {"公交线路"}) == "公交线路、司机态度"
    assert name([("公交线路", 0.3), ("司机态度", 0.3)], set()) == "公交线路、司机态度"
    assert name([], {"公交线路"}) == ""


def test_a_rise_is_told_from_chance_and_from_a_busy_month() -> None:
    total = Counts(60, 600)
    verdicts = [t.verdict for t in trends([Counts(20, 3), Counts(6, 60), Counts(2, 1), Counts(0, 80)], total)]
    assert verdicts == ["rising", "steady", "too_few", "falling"]
    busy = trends([Counts(60, 10)], Counts(660, 100))  # everything came in the last month
    assert busy[0].verdict == "steady"
    rising = trends([Counts(20, 3)], total)[0]
    assert rising.ratio == pytest.approx((20.5 / 61) / (3.5 / 601))
    assert rising.p is not None
    assert rising.p < 1e-6


def test_nothing_to_compare_with_is_no_trend() -> None:
    for total in (Counts(30, 0), Counts(0, 30), Counts(0, 0)):
        [trend] = trends([Counts(total.recent, total.before)], total)
        assert (trend.verdict, trend.ratio, trend.q) == ("too_few", None, None)
    assert trends([], Counts(1, 1)) == []


def test_many_topics_by_chance_do_not_rise() -> None:
    random = np.random.default_rng(0)
    counts = [Counts(int(random.binomial(30, 0.08)), 0) for _ in range(300)]
    topics = [Counts(c.recent, 30 - c.recent) for c in counts]
    found = trends(topics, Counts(720, 8280))
    assert sum(t.p is not None and t.p <= 0.05 for t in found) > 0
    assert [t.verdict for t in found if t.verdict == "rising"] == []


def test_adjusted_p_values_against_a_published_example() -> None:
    # Benjamini & Hochberg (1995), table 1: the first four of fifteen are called at 0.05.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    q = benjamini_hochberg(p)
    assert [value <= 0.05 for value in q] == [True] * 4 + [False] * 11
    assert q[0] == pytest.approx(0.0015)
    assert q[-1] == 1.0
    assert benjamini_hochberg([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert benjamini_hochberg([]) == []
