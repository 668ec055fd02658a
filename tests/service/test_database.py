"""The database under the store: upgrades, several processes, parity of the engines, and trouble."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from fastapi.testclient import TestClient
from sqlalchemy.dialects.postgresql.base import ischema_names

from service.app import create_app
from service.cases import Cases
from service.database import StoreError
from service.engine import Models
from service.search import Index, words_of
from service.settings import ROOT, Settings
from service.store import Store
from service.tables import PgVector, metadata
from tests.service.processes import store_and_revise
from tests.service.test_store import ENCODER, analysis, submission

pytestmark = pytest.mark.both_engines
LAMP = "小区门口的路灯坏了半个月没人修。"


@pytest.fixture
def blank_url(engine_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A database without tables."""
    if engine_name == "sqlite":
        return f"sqlite:///{tmp_path / 'blank.db'}"
    return str(request.getfixturevalue("empty_postgresql"))


# Migrations


@contextmanager
def plain(url: str) -> Iterator[sa.Connection]:
    """A transaction without anything of ours."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def migrate(url: str, verb: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "service" / "migrations"))
    with plain(url) as connection:
        config.attributes["connection"] = connection
        getattr(command, verb)(config, revision)


def insert(connection: sa.Connection, table: str, **row: object) -> None:
    keys, values = ", ".join(row), ", ".join(f":{key}" for key in row)
    connection.execute(sa.text(f"INSERT INTO {table} ({keys}) VALUES ({values})"), row)


ANALYSED = '{"primary": "urban", "entities": [{"text": "路灯"}, {"text": "云岩", "district": "云岩区"}]}'


@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_an_older_database_is_upgraded_with_its_rows(revision: str, blank_url: str, engine_name: str) -> None:
    migrate(blank_url, "upgrade", revision)
    at, key = "2024-05-06T00:00:00+00:00", {"office_id": "default", "submission_id": 1}
    with plain(blank_url) as connection:
        insert(connection, "submissions", office_id="default", id=1, source="s", external_id="1", title="", text=LAMP,
               content_sha256="0", stored_at=at)  # fmt: skip
        insert(connection, "analyses", **key, model="m", primary_theme="urban", matter="x", confidence=0.5,
               decision="accept", result=ANALYSED)  # fmt: skip
        insert(connection, "events", **key, id=1, kind="received", actor="t", at=at, detail="{}")
        if engine_name == "sqlite":  # no version before 0004 served PostgreSQL
            blob = np.arange(8, dtype="<f4").tobytes()
            insert(connection, "vectors", **key, encoder_id=ENCODER, vector=blob)
        if revision == "0003":
            insert(connection, "terms", **key, words="路灯 坏")
            insert(connection, "cases", office_id="default", id=1, lead_id=1, opened_at=at)
    opened = Store(blank_url, "default")
    found = opened.get(1)
    assert found is not None
    assert (found.submission.text, found.analysis, found.erased_at) == (LAMP, json.loads(ANALYSED), None)
    assert found.district_named == "云岩区"
    assert (opened.count(), opened.stamp(), opened.revisions(1)) == (1, 1, [])
    if engine_name == "sqlite":
        np.testing.assert_array_equal(opened.vectors(ENCODER)[1], np.arange(8, dtype=np.float32)[None])
    assert words_of(opened, [1]) == ({1: ["路灯", "坏"]} if revision == "0003" else {})
    opened.add([(submission(7), analysis())], ENCODER, "t")
    case = Cases(opened).merge(1, [1, 2], "a", "b")
    assert (case.id, case.members) == (2 if revision == "0003" else 1, (1, 2))
    opened.close()


def test_the_migrations_make_exactly_these_tables_and_go_back(blank_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ischema_names, "vector", PgVector)
    opened = Store(blank_url, "default")
    opened.add([(submission(1), analysis())], ENCODER, "t")
    opened.close()
    with plain(blank_url) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    migrate(blank_url, "downgrade", "0003")
    migrate(blank_url, "upgrade", "head")
    opened = Store(blank_url, "default")
    assert opened.count() == 1
    opened.close()
    migrate(blank_url, "downgrade", "base")
    with plain(blank_url) as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]


def test_a_database_of_a_newer_program_is_refused(store: Store) -> None:
    with plain(store.url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="的版本 9999 比本程序新，请升级程序后再打开"):
        Store(store.url, "default")


# Several processes


def test_processes_agree_lose_no_update_and_store_nothing_twice(blank_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=store_and_revise, args=(blank_url, worker)) for worker in range(3)]
    for one in workers:
        one.start()
    store = Store(blank_url, "default")
    index = Index("e1")
    while any(one.is_alive() for one in workers):
        index.follow(store)  # as a service that answers while others write
    for one in workers:
        one.join()
        assert one.exitcode == 0
    keys, matrix = store.vectors("e1")
    assert index.follow(store).vectors.keys.tolist() == keys
    np.testing.assert_array_equal(index.vectors.matrix, matrix)
    stored = list(store.everything())
    assert sorted(int(s.submission.external_id) for s in stored) == [*range(80), 999]
    assert [s.id for s in stored] == list(range(1, 82))
    [often] = [s for s in stored if s.submission.external_id == "999"]
    former = store.revisions(often.id)
    texts = {one.submission.text for one in (*former, often)}
    assert len(texts) == 30  # every revision of every process was once the current one, and is kept
    digests = [(e["detail"]["before"], e["detail"]["after"]) for e in store.history(often.id) if e["kind"] == "revised"]
    assert len(digests) == len(former) == 29
    assert all(earlier[1] == later[0] for earlier, later in zip(digests, digests[1:], strict=False))
    with store.reading() as connection:
        events = connection.execute(sa.text("SELECT id FROM events ORDER BY id")).scalars().all()
    assert events == list(range(1, 2 * (81 + 29) + 1))
    store.close()


# Parity


def test_both_engines_retrieve_the_same_ten(
    tmp_path: Path, postgresql: tuple[str, Path], empty_postgresql: str
) -> None:
    stores = [Store(f"sqlite:///{tmp_path / 'a.db'}", "default"), Store(empty_postgresql, "default")]
    rng = np.random.default_rng(5)
    words = "路灯 油烟 学位 井盖 公交 噪声 物业 停车".split()
    rows = []
    for number in range(300):
        vector = rng.normal(size=384).astype(np.float32)
        own = replace(analysis(), vector=vector / np.linalg.norm(vector), words=list(rng.choice(words, 6)))
        rows.append((submission(number), own))
    indexes = []
    for store in stores:
        store.add(rows, ENCODER, "t")
        indexes.append(Index(ENCODER).follow(store))
    for _ in range(10):
        query = rng.normal(size=384).astype(np.float32)
        query /= np.linalg.norm(query)
        asked = list(rng.choice(words, 2))
        [one, other] = [index.search(query, asked, 10) for index in indexes]
        assert one == other
        assert len(one) == 10
        # pgvector itself, over its own column, agrees with the scan in memory.
        with stores[1].reading() as connection:
            nearest = sa.text("SELECT submission_id FROM vectors ORDER BY vector <=> CAST(:q AS vector) LIMIT 10")
            found = connection.execute(nearest, {"q": str(query.tolist())}).scalars().all()
        assert found == [n.key for n in indexes[1].vectors.rank(query, 10)]
    for store in stores:
        store.close()


# Trouble


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
        ("sqlite://", "没有文件名，应如 sqlite:///minsheng.db"),
        ("sqlite:////no/such/folder/x.db", "所在的目录 /no/such/folder 不存在"),
        ("mysql://localhost/x", "不受支持：应为 sqlite:///文件路径 或 postgresql"),
        ("postgresql://u@localhost", "没有库名，应如 postgresql"),
        ("postgresql://u:secret@localhost/x?host=/no/such", "请检查数据库服务是否运行"),
    ],
)
def test_a_bad_database_address_is_explained(url: str, message: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url, "default")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_does_not_quote_the_row(store: Store) -> None:
    store.add([(submission(1), analysis())], ENCODER, "t")
    copied = sa.text("INSERT INTO submissions (office_id, id, source, external_id, title, text, content_sha256, "
                     "stored_at) VALUES ('default', 2, 'board', '1', '', '张三的手机', '', '')")  # fmt: skip
    with pytest.raises(StoreError) as caught, store.writing() as connection:
        connection.execute(copied)
    assert "张三" not in str(caught.value)
    assert "'1'" not in str(caught.value)
    assert "DETAIL" not in str(caught.value)


def test_a_filter_no_database_takes_is_the_callers_error(client: TestClient) -> None:
    for name in ("theme", "source"):
        response = client.get("/v1/submissions", params={name: "a\0"})
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, name)
        assert client.get("/v1/submissions", params={name: "无"}).json()["items"] == []


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process may grow beyond the database's log by more than a page."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size + 4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_database(store: Store) -> Iterator[None]:
    """SQLite may not use another page, as on a disk that is full."""

    @sa.event.listens_for(store._engine, "begin")
    def limit(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    yield
    sa.event.remove(store._engine, "begin", limit)
    with store.reading() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000000")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder and its files may be read, not written; not even by us, should we be root."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, as pytest's cannot be."""
    folder = Path(tempfile.mkdtemp(prefix="minsheng-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("trouble", ["disk", "database", "read-only"])
def test_what_cannot_be_written_is_503_and_leaves_nothing_half_done(
    trouble: str, open_folder: Path, models: Models
) -> None:
    path = open_folder / "test.db"
    store = Store(f"sqlite:///{path}", "default")
    settings = Settings(database_url=store.url)
    items = [{"external_id": str(i), "text": LAMP * 20} for i in range(10)]
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as client:
        client.post("/v1/submissions", json={"items": [{"external_id": "before", "text": LAMP}]})
        before = (store.stamp(), store.count(), store.get(1))
        if trouble == "read-only":
            store.close()  # so that it is opened anew, without the right to write
        with {"disk": full_disk(path), "database": full_database(store), "read-only": read_only(open_folder)}[trouble]:
            refused = client.post("/v1/submissions", json={"items": items})
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:minsheng:problem:store-unavailable")
            assert refused.headers["Retry-After"]
            assert str(path) not in refused.text
            with pytest.raises(StoreError, match="请检查磁盘空间与文件权限，或稍后再试"):
                store.add([(submission(i, LAMP * 20), analysis()) for i in range(10)], ENCODER, "t")
            if trouble == "read-only":
                store.close()
        assert (store.stamp(), store.count(), store.get(1)) == before
        with store.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        done = client.post("/v1/submissions", json={"items": items}).json()["items"]
        assert [item["outcome"] for item in done] == ["new"] * 10
    store.close()


@contextmanager
def failing_insert(url: str, statement: str) -> Iterator[None]:
    """The server does this in the midst of a transaction that has stored submissions."""
    with plain(url) as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {statement}; RETURN NEW; END $$"
        )
        connection.exec_driver_sql("CREATE TRIGGER fail BEFORE INSERT ON analyses FOR EACH ROW EXECUTE FUNCTION fail()")
    yield
    with plain(url) as connection:
        connection.exec_driver_sql("DROP FUNCTION fail CASCADE")


@contextmanager
def altered(url: str, on: str, off: str) -> Iterator[None]:
    """The database of ``url`` is set so for those who connect anew, which everybody must."""
    parsed = sa.make_url(url)
    engine = sa.create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT")
    gone = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    for step in (on, off):
        with engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {parsed.database} {step}")
            connection.execute(gone, {"name": parsed.database})
        if step == on:
            yield
    engine.dispose()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("disk", "磁盘已满，请腾出空间后再试"),
        ("lost", "请检查数据库服务是否运行、网络与权限，或稍后再试"),
        ("refused", "请检查数据库服务是否运行、网络与权限，或稍后再试"),
        ("read-only", "数据库只能读"),
    ],
)
def test_trouble_of_postgresql_is_503_and_leaves_nothing_half_done(
    trouble: str, said: str, empty_postgresql: str, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(empty_postgresql, "default")
    troubles = {
        "disk": lambda: failing_insert(
            store.url, "RAISE 'could not extend file: No space left' USING ERRCODE = '53100'"
        ),
        "lost": lambda: failing_insert(store.url, "PERFORM pg_terminate_backend(pg_backend_pid())"),
        "refused": lambda: altered(store.url, "ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"),
        "read-only": lambda: altered(
            store.url, "SET default_transaction_read_only = on", "RESET default_transaction_read_only"
        ),
    }
    items = [{"external_id": str(i), "text": LAMP} for i in range(3)]
    settings = Settings(database_url=store.url)
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as client:
        client.post("/v1/submissions", json={"items": [{"external_id": "before", "text": LAMP}]})
        before = (store.stamp(), store.count(), store.get(1))
        with troubles[trouble]():
            refused = client.post("/v1/submissions", json={"items": items})
            assert (refused.status_code, refused.json()["type"]) == (503, "urn:minsheng:problem:store-unavailable")
            assert refused.headers["Retry-After"]
            assert said in caplog.text
            assert str(sa.make_url(store.url).database) not in refused.text
            reads = client.get("/v1/submissions").status_code
            assert reads == (503 if trouble == "refused" else 200)
            assert client.get("/healthz").status_code == 200
        assert (store.stamp(), store.count(), store.get(1)) == before
        done = client.post("/v1/submissions", json={"items": items}).json()["items"]
        assert [item["outcome"] for item in done] == ["new"] * 3
    store.close()


@pytest.fixture
def small_disk(postgresql: tuple[str, Path]) -> Iterator[Path]:
    """A file system of 48 MB that the server may write to."""
    folder = Path(tempfile.mkdtemp(prefix="minsheng-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("only root may mount a file system")
    owner = postgresql[1].stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    yield folder
    subprocess.run(["umount", folder], check=True)
    folder.rmdir()


def test_a_disk_of_postgresql_that_is_really_full_is_503_and_leaves_nothing_half_done(
    small_disk: Path, postgresql: tuple[str, Path], models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    plain_url = postgresql[0].format("postgres").replace("+psycopg", "")
    with psycopg.connect(plain_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        connection.execute("CREATE DATABASE cramped TEMPLATE prepared TABLESPACE small")
    store = Store(postgresql[0].format("cramped"), "default")
    items = [{"external_id": str(i), "text": f"{i}{LAMP * 20}"} for i in range(10)]
    with TestClient(
        create_app(Settings(database_url=store.url), models, store), base_url="http://127.0.0.1:8000"
    ) as client:
        client.post("/v1/submissions", json={"items": items[:1]}).raise_for_status()
        before = (store.stamp(), store.count(), store.get(1))
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(8192))
        refused = client.post("/v1/submissions", json={"items": items})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:minsheng:problem:store-unavailable")
        assert "磁盘已满，请腾出空间后再试" in caplog.text
        assert (store.stamp(), store.count(), store.get(1)) == before
        ballast.unlink()
        done = client.post("/v1/submissions", json={"items": items}).json()["items"]
        assert [item["outcome"] for item in done] == ["unchanged"] + ["new"] * 9
    store.close()
    with psycopg.connect(plain_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE cramped WITH (FORCE)")
        connection.execute("DROP TABLESPACE small")
