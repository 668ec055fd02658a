from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.database import StoreError
from service.store import Analysis, Store, Submission, Submitter
from service.tables import metadata

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
    assert store.outcome(first) == "new"
    assert store.add([(first, analysis())], ENCODER, "t") == [(1, "new")]
    assert store.outcome(first) == "unchanged"
    assert store.add([(first, None)], ENCODER, "t") == [(1, "unchanged")]
    changed = replace(first, text="路灯修好了")
    assert store.outcome(changed) == "revised"
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


def test_offices_do_not_see_each_other(settings, store: Store) -> None:  # type: ignore[no-untyped-def]
    store.add([(submission(1), analysis())], ENCODER, "t")
    other = Store(settings.database_url, "other")
    assert other.count() == 0
    assert other.add([(submission(1), analysis())], ENCODER, "t") == [(1, "new")]
    assert store.count() == other.count() == 1
    other.close()


def test_reopening_keeps_everything_and_migrates_nothing(settings, store: Store) -> None:  # type: ignore[no-untyped-def]
    store.add([(submission(1), analysis())], ENCODER, "t")
    again = Store(settings.database_url, settings.office_id)
    assert again.get(1) == store.get(1)
    assert again.stamp() == store.stamp()
    again.close()


def test_the_migrations_make_exactly_these_tables(store: Store) -> None:
    with sa.create_engine(store.url).connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def _write(url: str, first: int) -> None:
    own = Store(url, "default")
    for number in range(first, first + 40):
        own.add([(submission(number), analysis())], ENCODER, "t")
    own.close()


def test_two_processes_writing_at_once_lose_nothing(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(store.url, first)) for first in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert store.count() == 60  # twenty of the eighty were the same submission


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a database" * 100, "file is not a database"), (b"SQLite format 3\0" + b"\xff" * 4096, "无法使用")],
)
def test_a_damaged_database_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.db"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        Store(f"sqlite:///{path}", "default")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert path.read_bytes() == content


def test_damage_after_opening_is_an_error_not_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    own = Store(f"sqlite:///{path}", "default")
    own.add([(submission(i, "路灯坏了" * 500), analysis()) for i in range(50)], ENCODER, "t")
    own.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xaa" * (len(content) - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="从备份恢复"):
        Store(f"sqlite:///{path}", "default").page()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "无法识别，应如 sqlite:///minsheng.db"),
        ("sqlite:////no/such/folder/x.db", "所在的目录 /no/such/folder 不存在"),
        ("mysql://localhost/x", "数据库地址"),
    ],
)
def test_a_bad_database_address_is_explained(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store(url, "default")
