"""The database under the store, SQLite or PostgreSQL: its schema, transactions and errors.

A writer holds the office's lock from its first statement (SQLite: ``BEGIN IMMEDIATE`` on the whole file; PostgreSQL: an
advisory lock that ends with the transaction). So running numbers have no gaps and no doubles, and events become
visible in the order of their numbers, whichever process writes.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from nlp.errors import MinshengError

# Seconds that one waits for another's transaction before it gives up.
_PATIENCE = 30
_UPGRADE_LOCK = "schema"
_DAMAGE = ("not a database", "malformed", "no such table", "corrupt", "does not exist")
# What to do about a trouble of PostgreSQL, by SQLSTATE.
_ADVICE = {
    "53100": "数据库服务器的磁盘已满，请腾出空间后再试",
    "25006": "数据库只能读（是备库，或被设为只读），请改用可写的主库，或稍后再试",
}
_LOG = logging.getLogger("minsheng")


class StoreError(MinshengError):
    """The database cannot be opened, read or written; the message names it."""


class Database:
    """One office's connections to a database, brought to the newest schema. Safe to share between threads."""

    def __init__(self, url: str, office_id: str) -> None:
        self.url = url
        self.office_id = office_id
        self._engine = _engine(url)
        try:
            with self._errors():
                self._upgrade()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Return all connections."""
        self._engine.dispose()

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database; None on PostgreSQL."""
        return Path(self._engine.url.database or "") if self._engine.dialect.name == "sqlite" else None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that sees one state of the database; raises StoreError."""
        reader = self._engine
        if self.path is None:  # SQLite sees one state by itself
            # Not ``postgresql_readonly``: reset, it makes later writes READ WRITE on a server set to be read only.
            reader = reader.execution_options(isolation_level="REPEATABLE READ")
        with self._errors(), reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that holds the office's lock from its beginning; raises StoreError."""
        with self._errors(), self._locked(f"office {self.office_id}") as connection:
            yield connection

    def purge(self, tables: Sequence[sa.Table]) -> bool:
        """Rewrite what held deleted rows of ``tables``, so that no file of the database keeps their content.

        False, with a line in the log, where another's transaction or a full disk prevents it for now.
        """
        try:
            if self.path is not None:
                return self._purge_file()
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql(f"VACUUM (FULL) {', '.join(table.name for table in tables)}")
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            _LOG.warning("purge: %s", _first_line(error))
            return False
        return True

    def _purge_file(self) -> bool:
        pooled = self._engine.raw_connection()
        try:
            cursor = pooled.cursor()
            cursor.execute("VACUUM")  # moved cells leave copies of themselves in their old pages
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return bool(cursor.fetchall()[0][0] == 0)  # 1: a reader still needs the log
        finally:
            pooled.close()

    @contextmanager
    def _locked(self, lock: str) -> Iterator[sa.Connection]:
        with self._engine.execution_options(minsheng_write=True).begin() as connection:
            if self.path is None:
                key = sa.func.hashtextextended(f"minsheng {lock}", 0)
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error) as error:
            cause = _first_line(error)
            code = getattr(getattr(error, "orig", None), "sqlstate", None)
            advice = _ADVICE.get(code or "", "请检查数据库服务是否运行、网络与权限，或稍后再试")
            if self.path is not None:
                advice = "请检查磁盘空间与文件权限，或稍后再试"
                if any(sign in cause for sign in _DAMAGE):
                    advice = "应为本程序的数据库文件；如已损坏，请从备份恢复"
            raise StoreError(f"数据库 {self._engine.url!s} 无法使用：{cause}。{advice}") from error

    def _upgrade(self) -> None:
        """Bring the schema to the newest migration; a no-op where it is there already."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        scripts = ScriptDirectory.from_config(config)
        with self._engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreError(f"数据库 {self._engine.url!s} 的版本 {current} 比本程序新，请升级程序后再打开")
        with self._locked(_UPGRADE_LOCK) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _first_line(error: Exception) -> str:
    """What the database said, without the lines that may quote rows."""
    return str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError(f"数据库地址 {url!r} 无法识别，应如 sqlite:///minsheng.db") from error
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    raise StoreError(f"数据库地址 {parsed!s} 不受支持：应为 sqlite:///文件路径 或 postgresql+psycopg://用户@主机/库名")


def _sqlite(url: sa.URL) -> sa.Engine:
    if url.database in {None, "", ":memory:"}:
        raise StoreError(f"数据库地址 {url!s} 没有文件名，应如 sqlite:///minsheng.db")
    folder = Path(url.database or "").parent
    if not folder.is_dir():
        raise StoreError(f"数据库 {url!s} 所在的目录 {folder} 不存在")
    engine = sa.create_engine(url, connect_args={"timeout": _PATIENCE}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's events below begin transactions themselves
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("minsheng_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    if not url.database:
        raise StoreError(f"数据库地址 {url!s} 没有库名，应如 postgresql+psycopg://用户@主机/库名")
    url = url.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, connect_args={"connect_timeout": 10}, hide_parameters=True, pool_pre_ping=True)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = '{_PATIENCE}s'")
        cursor.close()
        connection.commit()

    return engine
