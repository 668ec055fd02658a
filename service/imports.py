"""Imports as jobs: the file is kept in the database until it is done, so that a restarted service goes on with it.

    queued ─ running ─ done
       └────────┴───── cancelled, failed

One thread of each process takes jobs. Whoever runs one holds a lease on it; every portion of rows is one transaction
that also moves ``position`` and renews the lease, and is undone where the lease has passed to another. So no portion is
lost, none is counted twice, and two processes never run the same job, whenever one of them is killed.

    JobError     the job is not in a state for that
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from nlp.errors import InputError, MinshengError
from nlp.normalise import validate
from service import render
from service.cases import NotFound
from service.database import StoreError
from service.documents import Split
from service.engine import Engine, QueueFull, store_batch
from service.intake import Reading, Rejected, rejects_csv, understand
from service.replies import take
from service.store import Answer, Store, now
from service.tables import imports

_LOG = logging.getLogger("minsheng")
PORTION = 32
LEASE_SECONDS = 120
# Times a job is begun without getting one portion further: it is what kills the process.
MAX_ATTEMPTS = 10
MAX_WAITING = 20
# How often to look for jobs that another process left, and to try again where the queue is full.
_LOOK_SECONDS = 15.0
_RETRY_SECONDS = 0.5
_OPEN = ("queued", "running")
_MAX_ACTOR = 100


class JobError(MinshengError):
    """The job is not in a state in which this can be done."""


class _Lost(Exception):
    """The job was cancelled, or another process has taken it."""


@dataclass(frozen=True)
class Job:
    """An import and how far it is. ``done`` of ``total`` rows are stored or rejected."""

    id: int
    name: str
    source: str | None
    actor: str
    state: str
    total: int
    done: int
    new: int
    revised: int
    unchanged: int
    rejected: int
    error: str | None
    created_at: str
    finished_at: str | None


class Imports:
    """The jobs of one office. Safe to share between threads; ``clock`` gives the time as ``store.now`` does."""

    def __init__(self, store: Store, max_chars: int, clock: Callable[[], str] = now) -> None:
        self.store = store
        self.max_chars = max_chars
        self._clock = clock

    def submit(
        self, name: str, content: bytes, given: Mapping[str, str], source: str | None, split: Split, actor: str
    ) -> Job:
        """Keep a file to be imported; raises IntakeError or InputError where it cannot be read, keeping nothing."""
        validate(actor, "actor", _MAX_ACTOR)
        reading = understand(name, content, given, source, split, self.max_chars)
        with self.store.writing() as connection:
            waiting = sa.select(sa.func.count()).where(self.store.mine(imports), imports.c.state.in_(_OPEN))
            if connection.execute(waiting).scalar_one() >= MAX_WAITING:
                raise QueueFull(f"已有 {MAX_WAITING} 个文件等待导入，请稍后再试")
            number = self.store.next_number(connection, imports)
            counts = dict.fromkeys(("position", "new", "revised", "unchanged", "attempts"), 0)
            connection.execute(
                imports.insert().values(
                    office_id=self.store.office_id, id=number, name=name, source=source, split=split, actor=actor,
                    mapping=json.dumps(dict(given), ensure_ascii=False), state="queued", content=content, refused="[]",
                    total=len(reading.sheet.rows), rejected=len(reading.bad), created_at=self._clock(), **counts,
                )
            )  # fmt: skip
        return self.get(number)

    def get(self, number: int) -> Job:
        """One job; raises NotFound."""
        found = self._page(imports.c.id == number) if 0 < number < 2**31 else []
        if not found:
            raise NotFound("import", f"没有编号为 {number} 的导入")
        return found[0]

    def page(self, after: int, limit: int) -> list[Job]:
        """Jobs numbered above ``after``, ascending."""
        return self._page(imports.c.id > after, limit)

    def rejects(self, number: int) -> str:
        """CSV of the rejected rows of a job that has ended; raises NotFound or JobError."""
        job = self.get(number)
        with self.store.reading() as connection:
            found = connection.execute(sa.select(imports.c.rejects).where(*self._is(number))).scalar_one_or_none()
        if found is None:
            raise JobError(f"导入 {number} 的状态是 {job.state}，完成之后才有退件表")
        return str(found)

    def cancel(self, number: int) -> Job:
        """Stop a job; what it has stored stays. Raises NotFound or JobError."""
        self.get(number)
        with self.store.writing() as connection:
            changed = connection.execute(
                imports.update()
                .where(*self._is(number), imports.c.state.in_(_OPEN))
                .values(state="cancelled", content=None, owner=None, lease_until=None, finished_at=self._clock())
            )
        if not changed.rowcount:
            raise JobError(f"导入 {number} 的状态是 {self.get(number).state}，已经结束，不能取消")
        return self.get(number)

    def delete(self, number: int) -> None:
        """Remove an ended job with its rejected rows; raises NotFound or JobError."""
        self.get(number)
        with self.store.writing() as connection:
            ended = imports.delete().where(*self._is(number), imports.c.state.not_in(_OPEN))
            changed = connection.execute(ended)
        if not changed.rowcount:
            raise JobError(f"导入 {number} 还没有结束，请先取消")

    def waiting(self) -> bool:
        """Whether there is a job that nobody runs."""
        with self.store.reading() as connection:
            return connection.execute(self._free()).one_or_none() is not None

    def claim(self, owner: str) -> int | None:
        """Take the next job that nobody runs; its number, or None. One that was begun too often fails instead."""
        if not self.waiting():  # without the write lock: this is asked every few seconds
            return None
        with self.store.writing() as connection:
            row = connection.execute(self._free()).one_or_none()
            if row is None:
                return None
            number, attempts = row
            held = {"state": "running", "owner": owner, "lease_until": self._lease(), "attempts": attempts + 1}
            connection.execute(imports.update().where(*self._is(number)).values(**held))
        if attempts < MAX_ATTEMPTS:
            return int(number)
        self.end(number, owner, "failed", error=f"已中断 {attempts} 次而没有进展，不再重试")
        return self.claim(owner)

    def load(self, number: int, owner: str) -> tuple[Reading, int, str]:
        """The file of a job that ``owner`` holds, the position reached, and the actor; raises what reading raises."""
        with self.store.reading() as connection:
            held = sa.select(imports).where(*self._is(number), imports.c.owner == owner)
            row = connection.execute(held).one_or_none()
        if row is None or row.content is None:
            raise _Lost
        given = json.loads(row.mapping)
        reading = understand(row.name, row.content, given, row.source, row.split, self.max_chars)
        return reading, row.position, row.actor

    def advance(
        self,
        connection: sa.Connection,
        number: int,
        owner: str,
        position: int,
        answers: Sequence[Answer],
    ) -> None:
        """Count a portion that began at ``position``, within its transaction; raises _Lost where it is not ours."""
        mine = *self._is(number), imports.c.owner == owner, imports.c.position == position, imports.c.state == "running"
        row = connection.execute(sa.select(imports).where(*mine)).one_or_none()
        if row is None:
            raise _Lost
        refused = [
            [position + n, answer.field, answer.detail]
            for n, answer in enumerate(answers)
            if isinstance(answer, InputError)
        ]
        # What was erased stays erased: nothing has changed.
        kinds = [answer[1].replace("erased", "unchanged") for answer in answers if not isinstance(answer, InputError)]
        counts = {kind: getattr(row, kind) + kinds.count(kind) for kind in ("new", "revised", "unchanged")}
        connection.execute(
            imports.update()
            .where(*self._is(number))
            .values(
                position=position + len(answers), lease_until=self._lease(), attempts=0,
                rejected=row.rejected + len(refused), **counts,
                refused=json.dumps(json.loads(row.refused) + refused, ensure_ascii=False),
            )
        )  # fmt: skip

    def finish(self, number: int, owner: str, reading: Reading) -> None:
        """End a job whose rows are all done: the file goes, the rejected rows stay."""
        with self.store.reading() as connection:
            query = sa.select(imports.c.refused).where(*self._is(number))
            refused = json.loads(connection.execute(query).scalar_one_or_none() or "[]")
        late = [Rejected(reading.good[at].row, field, detail) for at, field, detail in refused]
        self.end(number, owner, "done", rejects=rejects_csv(reading.sheet.columns, [*reading.bad, *late]))

    def end(self, number: int, owner: str, state: str, **values: str) -> None:
        """End a job, or give it back (``queued``), as far as ``owner`` holds it."""
        ended = {"attempts": 0} if state == "queued" else {"content": None, "finished_at": self._clock()}
        with self.store.writing() as connection:
            connection.execute(
                imports.update()
                .where(*self._is(number), imports.c.owner == owner, imports.c.state == "running")
                .values(state=state, owner=None, lease_until=None, **ended, **values)
            )

    def _free(self) -> sa.Select[int, int]:
        lapsed = sa.and_(imports.c.state == "running", imports.c.lease_until < self._clock())
        free = self.store.mine(imports), sa.or_(imports.c.state == "queued", lapsed)
        return sa.select(imports.c.id, imports.c.attempts).where(*free).order_by(imports.c.id).limit(1)

    def _lease(self) -> str:
        until = datetime.fromisoformat(self._clock()) + timedelta(seconds=LEASE_SECONDS)
        return until.isoformat(timespec="seconds")

    def _is(self, number: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return self.store.mine(imports), imports.c.id == number

    def _page(self, condition: sa.ColumnElement[bool], limit: int = 1) -> list[Job]:
        kept = (c for c in imports.c if c.name not in {"content", "rejects", "refused"})
        query = sa.select(*kept).where(self.store.mine(imports), condition).order_by(imports.c.id).limit(limit)
        with self.store.reading() as connection:
            rows = connection.execute(query).mappings().all()
        done = ("new", "revised", "unchanged", "rejected")
        own = [f.name for f in fields(Job) if f.name != "done"]
        return [Job(**{name: row[name] for name in own}, done=sum(row[name] for name in done)) for row in rows]


class Runner:
    """The thread that works off the jobs, portion by portion, each of which waits its turn for the encoder."""

    def __init__(self, engine: Engine, jobs: Imports) -> None:
        self.engine = engine
        self.jobs = jobs
        self.owner = uuid.uuid4().hex
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin with what is there; raises StoreError."""
        if self.jobs.waiting():
            self._wake.set()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="imports")
        self._thread.start()

    def wake(self) -> None:
        """A job has come."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the portion at hand, give the job back and end the thread."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()
            try:
                while not self._stopped.is_set() and self.run_one():
                    pass
            except StoreError as error:  # the disk is full, or another process holds the lock: later
                _LOG.error("%s", error)

    def run_one(self) -> bool:
        """Claim one job and run it to its end; False where there is none."""
        number = self.jobs.claim(self.owner)
        if number is None:
            return False
        try:
            self._run(number)
        except _Lost:
            _LOG.info("import %d was cancelled or taken over", number)
        except StoreError:
            self.jobs.end(number, self.owner, "queued")
            raise
        except MinshengError as error:
            self.jobs.end(number, self.owner, "failed", error=str(error))
        except Exception:
            _LOG.exception("import %d failed", number)
            self.jobs.end(number, self.owner, "failed", error="内部错误，已记入日志")
        return True

    def _run(self, number: int) -> None:
        reading, position, actor = self.jobs.load(number, self.owner)
        while position < len(reading.good):
            if self._stopped.is_set():
                self.jobs.end(number, self.owner, "queued")
                return
            portion = reading.good[position : position + PORTION]
            batch = [item.submission for item in portion]
            replies = [item.reply for item in portion]

            def settle(connection: sa.Connection, answers: Any, at: int = position, given: Any = replies) -> Any:
                answers = take(self.jobs.store, connection, answers, given, actor)
                self.jobs.advance(connection, number, self.owner, at, answers)
                return answers

            try:
                self.engine.run(
                    lambda batch=batch, settle=settle: store_batch(  # type: ignore[misc]
                        self.engine, self.jobs.store, batch, render.answer, actor, settle
                    )
                )
            except QueueFull:  # people first
                self._stopped.wait(_RETRY_SECONDS)
                continue
            position += len(batch)
        self.jobs.finish(number, self.owner, reading)
