"""Backup while others write, restoration, and what is refused."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from service import backup as backup_module
from service.backup import BackupError, backup, restore
from service.database import StoreError
from service.store import Store
from tests.service.conftest import Run
from tests.service.processes import write_until
from tests.service.test_store import ENCODER, analysis, submission

pytestmark = pytest.mark.sqlite_file


@pytest.fixture
def made(store: Store, tmp_path: Path) -> Path:
    """A backup of three submissions."""
    store.add([(submission(i), analysis()) for i in range(3)], ENCODER, "t")
    backup(store.url, tmp_path / "backup.db")
    return tmp_path / "backup.db"


def test_backups_made_while_another_process_writes_are_whole(store: Store, tmp_path: Path) -> None:
    store.add([(submission(i), analysis()) for i in range(3)], ENCODER, "t")
    stop = tmp_path / "stop"
    writer = multiprocessing.get_context("spawn").Process(target=write_until, args=(store.url, stop))
    writer.start()
    try:
        while store.count() < 10:
            assert writer.is_alive()
        counts = [backup(store.url, tmp_path / f"{i}.db").submissions for i in range(4)]
        behind = store.count()
        while store.count() == behind:
            assert writer.is_alive()  # the writer goes on
    finally:
        stop.touch()
        writer.join(60)
    assert writer.exitcode == 0
    assert counts == sorted(counts)
    assert counts[0] >= 10
    for i, count in enumerate(counts):
        done = restore(tmp_path / f"{i}.db", tmp_path / f"restored-{i}.db")
        assert (done.submissions, done.events) == (count, 2 * count)
        restored = Store(f"sqlite:///{done.path}", "default")
        assert [s.id for s in restored.everything()] == list(range(1, count + 1))
        assert restored.vectors(ENCODER)[0] == list(range(1, count + 1))
        restored.close()


def test_a_backup_is_one_private_file_with_its_digest(made: Path, store: Store, tmp_path: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    assert (tmp_path / "backup.db.sha256").read_text() == f"{digest}  backup.db\n"
    assert {path.name for path in tmp_path.iterdir()} == {
        "backup.db", "backup.db.sha256", "test.db", "test.db-wal", "test.db-shm",
    }  # fmt: skip
    restore(made, tmp_path / "new.db")
    again = Store(f"sqlite:///{tmp_path / 'new.db'}", "default")
    assert list(again.everything()) == list(store.everything())
    again.close()


def refused(message: str, file: Path, to: Path) -> None:
    before = {path: path.read_bytes() for path in to.parent.iterdir()} if to.parent.is_dir() else {}
    with pytest.raises(BackupError) as caught:
        restore(file, to)
    assert message in str(caught.value)
    assert before == ({path: path.read_bytes() for path in to.parent.iterdir()} if to.parent.is_dir() else {})


def test_restoring_refuses_what_is_not_right(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "to"
    folder.mkdir()
    beside = tmp_path / "backup.db.sha256"
    good = beside.read_text()
    (folder / "taken.db").write_text("mine")
    refused("taken.db 已存在，不会覆盖", made, folder / "taken.db")
    (folder / "stale.db-wal").write_text("of another database")
    refused("stale.db-wal 已存在，不会覆盖", made, folder / "stale.db")
    refused("目录 /no/such 不存在，无法写入", made, Path("/no/such/x.db"))
    beside.write_text(f"{'0' * 64}  backup.db\n")
    refused(f"备份已损坏：backup.db.sha256 中为 {'0' * 64}，实为 {good[:64]}", made, folder / "x.db")
    beside.write_text("nonsense")
    refused("应为 sha256sum 的输出", made, folder / "x.db")
    beside.unlink()
    refused("找不到或读不出 backup.db.sha256，无法核对备份", made, folder / "x.db")
    beside.write_text(good)
    content = bytearray(made.read_bytes())
    content[5000] ^= 1
    made.write_bytes(content)
    refused("备份已损坏", made, folder / "x.db")
    made.unlink()
    refused("备份无法读取", made, folder / "x.db")


def signed(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(content).hexdigest())
    return path


def test_a_signed_file_that_is_no_whole_database_is_refused(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.db"
    with pytest.raises(StoreError, match="file is not a database"):
        restore(signed(tmp_path / "text.db", b"no database" * 1000), target)
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(StoreError, match="no such table: submissions"):
        restore(signed(tmp_path / "foreign.db", (tmp_path / "foreign.db").read_bytes()), target)
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        index = "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name='events') WHERE name='cases'"
        connection.execute(index)
        connection.commit()
    with pytest.raises(BackupError, match="数据库内部不一致"):
        restore(signed(made, made.read_bytes()), target)
    assert not target.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_backup_that_cannot_be_made_leaves_nothing(
    made: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackupError, match=r"backup\.db 已存在，不会覆盖"):
        backup(store.url, made)
    with pytest.raises(StoreError, match="unable to open database file"):
        backup(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "x.db")
    with pytest.raises(BackupError, match=r"pg_dump --format=custom --file=备份\.dump office"):
        backup("postgresql://u:secret@localhost/office", tmp_path / "x.db")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module.os, "fsync", full)
    with pytest.raises(BackupError, match=r"x\.db：无法写入：No space left on device"):
        backup(store.url, tmp_path / "x.db")
    assert {path.name for path in tmp_path.iterdir()} == {
        "backup.db", "backup.db.sha256", "test.db", "test.db-wal", "test.db-shm",
    }  # fmt: skip


def test_backup_and_restore_by_command(run: Run, tmp_path: Path) -> None:
    path, out, new = tmp_path / "a.jsonl", tmp_path / "backup.db", tmp_path / "new.db"
    path.write_text(json.dumps({"external_id": "A", "text": "路灯坏了没人修"}), encoding="utf-8")
    assert run("import", path)[0] == 0
    code, said, _ = run("backup", "--out", out)
    assert (code, json.loads(said)["submissions"], json.loads(said)["path"]) == (0, 1, str(out))
    code, said, _ = run("restore", out, "--to", new)
    assert (code, json.loads(said)["path"]) == (0, str(new))
    code, said, err = run("restore", out, "--to", new)
    assert (code, said) == (2, "")
    assert "已存在，不会覆盖" in err
