"""Backup of a SQLite database while others write, and its restoration, verified by sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from nlp.errors import MinshengError
from service.database import StoreError


class BackupError(MinshengError):
    """A backup cannot be made, or is not what it should be; the message names the file."""


@dataclass(frozen=True)
class Backup:
    """A backup, or the database made from one: its file, the sha256 of the backup, all offices' rows in it."""

    path: Path
    sha256: str
    submissions: int
    events: int


def backup(url: str, out: Path) -> Backup:
    """Write one state of the database to ``out``, without what was deleted, and its digest to ``out``.sha256.

    Waits for nobody and stops nobody; upgrades nothing. Raises BackupError or StoreError; then nothing is at ``out``.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise BackupError(
            f"{parsed!s} 请用 PostgreSQL 自带的 pg_dump 备份，如 "
            f"pg_dump --format=custom --file=备份.dump {parsed.database}（见 docs/operations.md）"
        )
    with _new_file(out) as partial:
        with _reading(Path(parsed.database or "")) as connection:
            connection.execute("VACUUM INTO ?", (str(partial),))
        made = _checked(partial, out)
    _digest_file(out).write_text(f"{made.sha256}  {out.name}\n", encoding="utf-8")
    return made


def restore(file: Path, to: Path) -> Backup:
    """Make a new database at ``to`` from a backup whose digest is right and whose content is whole.

    Raises BackupError; then nothing is at ``to``.
    """
    expected = _expected(file)
    with _new_file(to) as partial:
        try:
            shutil.copyfile(file, partial)
        except OSError as error:
            raise BackupError(f"{file}：备份无法读取或写到 {to}：{error.strerror}") from error
        found = _sha256(partial)
        if found != expected:
            raise BackupError(f"{file}：备份已损坏：{_digest_file(file).name} 中为 {expected}，实为 {found}")
        return _checked(partial, to)


def _checked(partial: Path, path: Path) -> Backup:
    """What is in a database file, which must be whole."""
    sha256 = _sha256(partial)
    with _reading(partial) as connection:
        [[verdict], *_] = connection.execute("PRAGMA integrity_check")
        if verdict != "ok":
            raise BackupError(f"{path}：数据库内部不一致：{verdict}")
        counts = [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("submissions", "events")]  # noqa: S608
    return Backup(path, sha256, *counts)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"数据库 {path} 无法读取或备份：{error}；请检查是否为本程序的数据库，以及磁盘空间") from error


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A file to fill that gets its name, and reaches the disk, only when it is whole; for the owner alone to read."""
    if not path.parent.is_dir():
        raise BackupError(f"{path}：目录 {path.parent} 不存在，无法写入")
    for taken in (path, _digest_file(path), Path(f"{path}-wal")):
        if taken.exists():
            raise BackupError(f"{taken} 已存在，不会覆盖；请换一个名称")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.touch(mode=0o600, exist_ok=False)
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BackupError(f"{path}：无法写入：{error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _expected(file: Path) -> str:
    """The digest that stands beside a backup, as ``sha256sum`` writes it."""
    beside = _digest_file(file)
    try:
        words = beside.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{file}：找不到或读不出 {beside.name}，无法核对备份") from error
    if not words or len(words[0]) != 64:
        raise BackupError(f"{beside}：应为 sha256sum 的输出（64 位十六进制数）")
    return words[0].lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
