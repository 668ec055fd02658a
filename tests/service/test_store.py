from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from service.database import StoreError
from service.lifecycle import Lifecycle
from service.reanalysis import prepare, switch
from service.store import Analysis, Store, Submission, Submitter

pytestmark = pytest.mark.both_engines
ENCODER = "e1"


def analysis(theme: str = "urban", seed: int = 0) -> Analysis:
    vector = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return Analysis("model@1", theme, "roads_municipal", 0.9, "accept", {"primary": theme}, vector, ["路灯", "坏"])


def submission(number: int, text: str = "路灯坏了") -> Submission:
    return Submission(
        "board", str(number), text, received_at="2024-05-06T09:30:00+08:00", submitter=Submitter(name="张三")
    )


def test_a_submission_comes_back_as_it_was(store: Store) -> None:
    given = Submission(
        "12345", "WO-1", "路灯坏了𠮷🙂", "标题", "2024-05-06T09:30:00+08:00", "云岩区", "某路1号",
        Submitter("张三", "13812345678", "民建", "经济", "委员"),
    )  # fmt: skip
    [(number, outcome)] = store.add([(given, analysis())], ENCODER, "tester")
    found = store.get(number)
    assert outcome == "new"
    assert found is not None
    assert found.submission == given
    assert found.analysis == {"primary": "urban"}
    assert store.get(number + 1) is None


def test_same_identity_unchanged_or_revised(store: Store) -> None:
    first = submission(1)
    assert store.foresee(first)[1] == "new"
    assert store.add([(first, analysis())], ENCODER, "t") == [(1, "new")]
    assert store.foresee(first)[1] == "unchanged"
    assert store.add([(first, None)], ENCODER, "t") == [(1, "unchanged")]
    changed = replace(first, text="路灯修好了")
    assert store.foresee(changed)[1] == "revised"
    assert store.add([(changed, analysis("ecology"))], ENCODER, "t") == [(1, "revised")]
    found = store.get(1)
    assert found is not None
    assert found.submission.text == "路灯修好了"
    assert found.analysis == {"primary": "ecology"}
    assert [e["kind"] for e in store.history(1)] == ["received", "analysed", "revised", "analysed"]
    assert store.count() == 1


def test_the_same_words_from_two_people_are_two_submissions(store: Store) -> None:
    store.add([(submission(1), analysis()), (submission(2), analysis())], ENCODER, "t")
    assert store.count() == 2


def test_events_hold_no_submission_text(store: Store) -> None:
    store.add([(submission(1, "绝密的路灯"), analysis())], ENCODER, "t")
    store.add([(submission(1, "绝密的井盖"), analysis())], ENCODER, "t")
    assert "绝密" not in str(store.history(1))


def test_a_failed_batch_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="刚被其他程序改动"):
        store.add([(submission(1), analysis()), (submission(2), None)], ENCODER, "t")
    assert store.count() == 0
    assert store.stamp() == 0


def test_pages_filter_and_follow(store: Store) -> None:
    themes = ["urban", "ecology", "urban"]
    store.add([(submission(i), analysis(t)) for i, t in enumerate(themes)], ENCODER, "t")
    assert [s.id for s in store.page(limit=2)] == [1, 2]
    assert [s.id for s in store.page(after=2)] == [3]
    assert [s.id for s in store.page(theme="urban")] == [1, 3]
    assert store.page(source="other") == []


def test_vectors_come_back_with_their_owners(store: Store) -> None:
    given = [analysis(seed=i) for i in range(3)]
    store.add([(submission(i), a) for i, a in enumerate(given)], ENCODER, "t")
    keys, matrix = store.vectors(ENCODER)
    assert keys == [1, 2, 3]
    np.testing.assert_array_equal(matrix, np.stack([a.vector for a in given]))
    keys, matrix = store.vectors("another")
    assert keys == []
    assert matrix.shape == (0, 0)


def test_offices_do_not_see_each_other(store: Store, another: Callable[[str], Store]) -> None:
    store.add([(submission(1), analysis())], ENCODER, "t")
    other = another("other")
    assert other.count() == 0
    assert other.add([(submission(1), analysis())], ENCODER, "t") == [(1, "new")]
    assert store.count() == other.count() == 1


def test_reopening_keeps_everything_and_migrates_nothing(store: Store, another: Callable[[str], Store]) -> None:
    store.add([(submission(1), analysis())], ENCODER, "t")
    again = another(store.office_id)
    assert again.get(1) == store.get(1)
    assert again.stamp() == store.stamp()


# Former contents


def test_a_revision_keeps_what_was_there_before(store: Store) -> None:
    first = replace(submission(1), title="路灯", district="云岩区", submitter=Submitter("张三", kind="委员"))
    store.add([(first, analysis())], ENCODER, "t")
    assert store.revisions(1) == []
    second, third = replace(first, text="路灯修好了"), replace(first, submitter=Submitter("李四"))
    for changed in (second, third):
        store.add([(changed, analysis())], ENCODER, "t")
    former = store.revisions(1)
    assert [(one.number, one.submission) for one in former] == [(1, first), (2, second)]
    revised = [event for event in store.history(1) if event["kind"] == "revised"]
    assert [event["detail"]["revision"] for event in revised] == [1, 2]
    assert former[0].replaced_at == revised[0]["at"]
    assert store.revisions(2) == []


def test_what_people_changed_is_kept_as_well(store: Store) -> None:
    first = replace(submission(1), title="路灯")
    store.add([(first, analysis())], ENCODER, "t")
    titled = replace(first, title="青云路路灯")
    Lifecycle(store).revise(1, titled, None, ENCODER, "王芳", "标题不清", None)
    assert [one.submission for one in store.revisions(1)] == [first]
    assert store.foresee(first)[1] == "unchanged"
    store.add([(replace(first, text="换了"), analysis())], ENCODER, "t")
    assert [one.submission for one in store.revisions(1)] == [first, titled]


# Another encoder


def test_what_is_prepared_is_used_only_from_the_switch_on(store: Store) -> None:
    store.add([(submission(i), analysis("urban", i)) for i in range(3)], ENCODER, "t")
    items, stamp = list(store.everything()), store.stamp()
    prepare(store, [(item, analysis("ecology", 9)) for item in items[:2]], "e2")
    prepare(store, [(items[1], analysis("ecology", 9))], "e2")  # another process did the same
    assert (store.vectors(ENCODER)[0], store.vectors("e2")[0]) == ([1, 2, 3], [])
    assert [s.id for s in store.page(theme="urban")] == [1, 2, 3]
    assert (store.stamp(), store.without_vector("e2")) == (stamp, [1, 2, 3])
    assert store.without_vector("e2", prepared=True) == [3]
    assert switch(store, "e2") == 2
    assert (store.vectors(ENCODER)[0], store.vectors("e2")[0]) == ([3], [1, 2])
    np.testing.assert_array_equal(store.vectors("e2")[1][0], analysis(seed=9).vector)
    assert [s.id for s in store.page(theme="ecology")] == [1, 2]
    assert store.history(2)[-1]["detail"] == {
        "model": "model@1", "encoder": "e2", "primary": "ecology", "matter": "roads_municipal", "district": None,
    }  # fmt: skip
    assert switch(store, "e2") == 0


def test_what_changes_while_it_is_prepared_is_not_switched(store: Store) -> None:
    store.add([(submission(i), analysis()) for i in range(3)], ENCODER, "t")
    items = list(store.everything())
    store.add([(submission(0, "改过了"), analysis())], ENCODER, "t")
    prepare(store, [(item, analysis("ecology")) for item in items], "e2")  # read before the revision
    store.add([(submission(1, "也改了"), analysis())], ENCODER, "t")
    assert switch(store, "e2") == 1
    assert [s.id for s in store.page(theme="ecology")] == [3]
    assert store.without_vector("e2") == [1, 2]
