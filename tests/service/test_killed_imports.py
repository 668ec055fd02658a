"""An import whose process is killed (SIGKILL) at random points, within transactions too, ends with exactly all rows."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from service import cli, engine
from service.engine import Engine, Models
from service.imports import LEASE_SECONDS, Imports, Runner
from service.settings import Settings
from service.store import Store
from service.tables import events, submissions

# The command starts anew each time, which takes seconds; the job is what offices import with.
COMMANDS, KILLS = 8, 20
ROWS = 300
START = datetime.fromisoformat("2024-05-06T00:00:00+00:00")


def content() -> bytes:
    lines = [f"路灯,2024-05-06,{n}号楼前的路灯坏了半个月没人修" for n in range(ROWS - 1)]
    return ("标题,日期,内容\n" + "\n".join([*lines, lines[0]]) + "\n").encode()  # two people who write the same


def _die_at(statement: int) -> None:
    """SIGKILL to this process before its n-th SQL statement, or commit, from now on."""
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen >= statement:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    sa.event.listen(sa.Engine, "commit", count)


def _in_child(work: Callable[[], Any]) -> int:
    """Exit code of a forked process that does ``work``: the models are loaded already."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(600)
    assert child.exitcode is not None
    return child.exitcode


def killed_commands(path: Path, models: Models, url: str, points: list[int]) -> list[int]:
    """Exit codes of ``minsheng import`` killed at these points, and of the one that was let finish."""

    def command(point: int | None) -> None:
        os.environ["MINSHENG_DATABASE_URL"] = url
        engine.load_models = lambda settings: models
        sys.argv = ["minsheng", "import", str(path), "--source", "board"]
        sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
        if point is not None:
            _die_at(point)
        cli.main()

    return [_in_child(lambda point=point: command(point)) for point in (*points, None)]  # type: ignore[misc]


def _points(most: int, kills: int) -> list[int]:
    chance = random.Random(5)
    return [chance.randrange(1, most) for _ in range(kills)]


def check(store: Store, rows: int) -> None:
    """Exactly so many submissions, each received and analysed once and never revised."""
    with store.reading() as connection:
        kinds = Counter(connection.execute(sa.select(events.c.kind)).scalars())
        identities = Counter(connection.execute(sa.select(submissions.c.external_id)).scalars())
    assert store.count() == rows
    assert kinds == {"received": rows, "analysed": rows}
    assert set(identities.values()) == {1}
    assert store.without_vector("characters") == []


def test_the_command_killed_again_and_again_loses_and_doubles_nothing(
    models: Models, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content())
    codes = killed_commands(path, models, store.url, _points(1200, COMMANDS))
    assert codes == [-signal.SIGKILL] * COMMANDS + [0]
    check(store, ROWS)


def test_the_job_killed_twenty_times_counts_each_row_once(models: Models, store: Store, settings: Settings) -> None:
    number = Imports(store, settings.max_chars).submit("a.csv", content(), {}, "board", "auto", "王芳").id

    def job(turn: int, point: int | None) -> None:
        later = START + timedelta(days=36500, seconds=turn * (LEASE_SECONDS + 1))
        opened = Store(settings.database_url, settings.office_id)
        jobs = Imports(opened, settings.max_chars, lambda: later.isoformat(timespec="seconds"))
        working = Engine(models, 2)
        if point is not None:
            _die_at(point)
        Runner(working, jobs).run_one()
        working.close()

    begun = _points(1200, KILLS)
    ended = [_in_child(lambda turn=turn, point=point: job(turn, point)) for turn, point in enumerate(begun)]  # type: ignore[misc]
    final = _in_child(lambda: job(KILLS, None)) if Imports(store, 1).get(number).state != "done" else 0
    done = Imports(store, settings.max_chars).get(number)
    assert (final, done.state, done.new, done.unchanged, done.rejected) == (0, "done", ROWS, 0, 0)
    assert ended.count(-signal.SIGKILL) > KILLS / 2
    check(store, ROWS)


@pytest.mark.parametrize("point", [1, 2, 3])
def test_the_points_are_really_reached(point: int, store: Store) -> None:
    def work() -> None:
        _die_at(point)
        store.count()
        store.count()
        store.count()

    assert _in_child(work) == -signal.SIGKILL
