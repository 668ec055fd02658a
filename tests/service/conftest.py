"""Fixtures: the service over the small models, by HTTP and by command."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service import cli, engine, learning
from service.app import create_app
from service.engine import Models
from service.settings import Settings
from service.store import Store
from tests.conftest import CharacterEncoder, postgresql_database

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def empty_postgresql(postgresql: tuple[str, Path]) -> Iterator[str]:
    """A database without tables."""
    with postgresql_database(postgresql[0], "template1") as address:
        yield address


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


@pytest.fixture
def client(settings: Settings, models: Models, store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(settings, models, store), base_url="http://127.0.0.1:8000") as opened:
        yield opened


@pytest.fixture
def run(
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs a command in this process with the small models: (exit code, stdout, stderr)."""
    monkeypatch.setenv("MINSHENG_DATABASE_URL", database_url)
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
