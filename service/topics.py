"""Topics (议题) of the stored submissions: kept from run to run, counted over time, and changed by researchers.

Which submission is in which topic is stored, so that a topic keeps its number and its members when others arrive. What
a researcher does to a topic (rename, merge, pin, dismiss) is a step with actor and reason; none moves a submission,
and each can be taken back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from nlp.errors import InputError
from nlp.keyphrases import Namer, Words, name
from nlp.normalise import validate
from nlp.topics import NONE, Grouping, Space, grow
from service.cases import Conflict, NotFound, signed
from service.engine import Engine
from service.search import words_of
from service.steps import Standing
from service.store import Store, now
from service.tables import of_submission, submissions, topic_members, topic_steps, topics, vectors
from service.works import Works

# Numbers → what became of those of which anything is known.
Standings = Callable[[Sequence[int]], Mapping[int, Standing]]
Level = Literal["broad", "concrete"]
State = Literal["open", "dismissed", "merged"]
_MAX_NAME = 60


def no_standings(numbers: Sequence[int]) -> Mapping[int, Standing]:
    """Where handling is not recorded: nothing is known of any."""
    return {}


@dataclass(frozen=True)
class TopicRow:
    """A topic as stored, and the submissions put into it directly."""

    id: int
    level: Level
    parent: int | None
    name: str
    given_name: str | None
    state: State
    merged_into: int | None
    pinned: bool


class Topics:
    """The topics of a store. Each step is one transaction; safe to share between threads.

    ``standings``: what became of submissions, for candidates.
    """

    def __init__(self, engine: Engine, store: Store, standings: Standings = no_standings) -> None:
        self.engine = engine
        self.store = store
        # Of those that somebody has taken up: what nobody has handled tells nothing of how things are handled.
        self.standings: Standings = lambda numbers: {n: s for n, s in standings(numbers).items() if s.number}
        self.works = Works(store)
        self._lock = threading.Lock()
        self._space: tuple[int, list[int], Space] | None = None

    @property
    def encoder_id(self) -> str:
        """Of the encoder whose vectors are compared."""
        return self.engine.models.encoder.encoder_id

    # Grouping

    def refresh(self) -> int:
        """Put what is new or revised into topics, those there are or new ones; how many were looked at.

        Topics that lost their name with an erased submission get another.
        """
        with self._lock:
            pending, rows = self._pending(), self.rows()
            if pending or any(not row.name for row in rows.values()):
                numbers, space = self.space()
                known = self._assigned()
                labels = _labels(numbers, {n: pair for n, pair in known.items() if n not in pending})
                arrived = [i for i, number in enumerate(numbers) if number in pending]
                found = grow(space, labels, *_tree(rows.values()), max(rows, default=0), arrived)
                self._write(numbers, found, rows, pending, ("machine", "归入新到材料"))
            return len(pending)

    def regroup(self, actor: str, reason: str) -> int:
        """Group everything anew, except the topics researchers renamed, merged, pinned or dismissed.

        A new topic takes the number of the untouched one it mostly consists of. How many were looked at.
        """
        by = signed(actor, reason)
        self.refresh()
        with self._lock:
            rows = self.rows()
            touched = self._touched()
            kept = {r.id for r in rows.values() if r.id in touched or r.parent in touched}
            numbers, space = self.space()
            before = _labels(numbers, self._assigned())
            labels = np.where(np.isin(before, sorted(kept)), before, NONE)
            tree = _tree([rows[number] for number in sorted(kept)])
            found = grow(space, labels, *tree, max(rows, default=0)).renumbered(before, kept)
            self._write(numbers, found, rows, set(numbers), by)
            return len(numbers)

    def space(self) -> tuple[list[int], Space]:
        """Numbers of all submissions with a vector, ascending, and the space their similarity is measured in."""
        stamp = self.store.stamp()
        if self._space is None or self._space[0] != stamp:
            numbers, matrix = self.store.vectors(self.encoder_id)
            words = words_of(self.store, numbers)
            places = {word for word, entry in self.engine.models.analyser.entries.items() if entry.label == "PLACE"}
            space = Space(matrix, [[w for w in words.get(n, []) if w not in places] for n in numbers])
            self._space = stamp, numbers, space
        return self._space[1], self._space[2]

    def forget(self) -> None:
        """Drop from memory the space where it holds what was erased."""
        with self._lock:
            if self._space is not None and self.store.erasures(self._space[0]):
                self._space = None

    def _pending(self) -> set[int]:
        """Numbers of the submissions that were never looked at, or were revised since."""
        query = (
            sa.select(submissions.c.id)
            .join(vectors, of_submission(vectors))
            .outerjoin(topic_members, of_submission(topic_members))
            .where(
                self.store.mine(submissions), vectors.c.encoder_id == self.encoder_id,
                sa.or_(topic_members.c.content_sha256.is_(None),
                       topic_members.c.content_sha256 != submissions.c.content_sha256),
            )
        )  # fmt: skip
        with self.store.reading() as connection:
            return set(connection.execute(query).scalars())

    def _assigned(self) -> dict[int, tuple[int, int]]:
        query = sa.select(topic_members).where(self.store.mine(topic_members))
        with self.store.reading() as connection:
            return {row.submission_id: (_or_none(row.topic_id), _or_none(row.broad_id))
                    for row in connection.execute(query)}  # fmt: skip

    def _names(
        self, numbers: Sequence[int], found: Grouping, taken: set[str], nameless: Iterable[int]
    ) -> dict[int, str]:  # fmt: skip
        """Names for the new topics and those without, by what their texts say."""
        unnamed = (*found.new_topics, *nameless)
        if not unnamed:
            return {}
        words = words_of(self.store, numbers)
        texts = {item.id: item.submission for item in self.store.everything()}
        there = [n for n in numbers if n in texts]  # the others were erased meanwhile
        items = {n: Words(words.get(n, []), texts[n].title.lower(), texts[n].text.lower()) for n in there}
        entries = self.engine.models.analyser.entries
        proper = {word for word, entry in entries.items() if entry.label in ("PLACE", "UNIT")}
        namer = Namer(items, entries.keys() - proper, proper)
        names: dict[int, str] = {}
        for topic in unnamed:
            concrete = topic in found.parents
            inside = np.flatnonzero(found.labels[:, 0 if concrete else 1] == topic)
            ranked = namer.ranked([numbers[i] for i in inside.tolist() if numbers[i] in items])
            names[topic] = (name(ranked, taken, 0.6 if concrete else 1.0) or f"议题 {topic}")[:_MAX_NAME]
            taken.add(names[topic])
        return names

    def _write(
        self, numbers: Sequence[int], found: Grouping, rows: Mapping[int, TopicRow], looked_at: set[int],
        by: tuple[str, str],
    ) -> None:  # fmt: skip
        """Store new topics, parents and memberships, in one transaction."""
        others = [row for row in rows.values() if row.id not in found.new_topics]
        nameless = [row.id for row in others if not row.name]
        names = self._names(numbers, found, {row.name for row in others}, nameless)
        with self.store.writing() as connection:
            if self.rows(connection) != rows:
                return  # somebody was faster: what is there now is looked at next time
            self._write_topics(connection, found, rows, names, by)
            query = sa.select(submissions.c.id, submissions.c.content_sha256).where(self.store.present())
            shas = {row.id: row.content_sha256 for row in connection.execute(query)}
            members = [
                {"office_id": self.store.office_id, "submission_id": number, "content_sha256": shas[number],
                 "topic_id": None if topic == NONE else topic, "broad_id": None if broad == NONE else broad}
                for number, (topic, broad), changed in zip(numbers, found.labels.tolist(), found.changed, strict=True)
                if number in shas and (changed or number in looked_at)
            ]  # fmt: skip
            if members:
                one = topic_members.c.submission_id == sa.bindparam("number")
                here = [{"number": row["submission_id"]} for row in members]
                connection.execute(topic_members.delete().where(self.store.mine(topic_members), one), here)
                connection.execute(topic_members.insert(), members)

    def _write_topics(
        self, connection: sa.Connection, found: Grouping, rows: Mapping[int, TopicRow], names: Mapping[int, str],
        by: tuple[str, str],
    ) -> None:  # fmt: skip
        actor, reason = by
        for topic in sorted(names.keys() | found.parents.keys()):
            values: dict[str, Any] = {"parent_id": found.parents.get(topic)}
            values |= {"name": names[topic]} if topic in names else {}
            if topic not in rows:
                level = "concrete" if topic in found.parents else "broad"
                row = {**values, "level": level, "state": "open", "pinned": 0, "created_at": now()}
                connection.execute(topics.insert().values(office_id=self.store.office_id, id=topic, **row))
                self._step(connection, topic, "found", actor, {"reason": reason})
            elif topic in names or rows[topic].parent != values["parent_id"]:
                here = self.store.mine(topics), topics.c.id == topic
                connection.execute(topics.update().where(*here).values(**values))
                self._step(connection, topic, "regrouped", actor, {"reason": reason})

    # What researchers do

    def rename(self, number: int, given: str, actor: str, reason: str) -> None:
        """Give a topic a name that stays; raises InputError or NotFound."""
        given = validate(given, "name", _MAX_NAME).strip()
        self._change(number, "renamed", actor, reason, {"name": given}, given_name=given)

    def pin(self, number: int, pinned: bool, actor: str, reason: str) -> None:
        """Put a topic on top of every list, or take it from there; raises InputError or NotFound."""
        self._change(number, "pinned" if pinned else "unpinned", actor, reason, {}, pinned=int(pinned))

    def dismiss(self, number: int, actor: str, reason: str) -> None:
        """Take a topic out of lists and candidates; raises InputError, NotFound or Conflict."""
        self._change(number, "dismissed", actor, reason, {}, state="dismissed")

    def restore(self, number: int, actor: str, reason: str) -> None:
        """Undo a merge or dismissal; raises InputError, NotFound or Conflict."""
        self._change(number, "restored", actor, reason, {}, state="open", merged_into=None)

    def merge(self, number: int, into: int, actor: str, reason: str) -> None:
        """Count a topic's submissions, and those still to come, under another of its level.

        Raises InputError, NotFound or Conflict.
        """
        if number == into:
            raise InputError("invalid_value", "into", f"议题 {number} 不能并入自己")
        self._change(number, "merged", actor, reason, {"into": into}, state="merged", merged_into=into)

    def _change(
        self, number: int, kind: str, actor: str, reason: str, detail: dict[str, Any], **values: Any
    ) -> None:  # fmt: skip
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            rows = self.rows(connection)
            row = _known(rows, number, "id")
            target = values.get("state", row.state)
            if target != "open" and row.state != "open":
                raise Conflict("id", f"议题 {number} 已{_STATES[row.state]}，请先恢复")
            if kind == "restored" and row.state == "open":
                raise Conflict("id", f"议题 {number} 没有合并或搁置，无须恢复")
            if target == "merged" and values.get("merged_into") is not None:
                other = _known(rows, values["merged_into"], "into")
                if other.state != "open" or other.level != row.level:
                    raise Conflict("into", f"议题 {other.id} 应为未合并、未搁置的同级议题")
            here = self.store.mine(topics), topics.c.id == number
            connection.execute(topics.update().where(*here).values(**values))
            self._step(connection, number, kind, actor, {**detail, "reason": reason})

    def _step(self, connection: sa.Connection, topic: int, kind: str, actor: str, detail: dict[str, Any]) -> None:
        connection.execute(
            topic_steps.insert().values(
                office_id=self.store.office_id, id=self.store.next_number(connection, topic_steps), topic_id=topic,
                kind=kind, actor=actor, at=now(), detail=json.dumps(detail, ensure_ascii=False),
            )
        )  # fmt: skip

    def history(self, number: int) -> list[dict[str, Any]]:
        """The steps of a topic, oldest first; raises NotFound."""
        _known(self.rows(), number, "id")
        query = sa.select(topic_steps).where(self.store.mine(topic_steps), topic_steps.c.topic_id == number)
        with self.store.reading() as connection:
            rows = connection.execute(query.order_by(topic_steps.c.id)).all()
        return [{"kind": r.kind, "actor": r.actor, "at": r.at, "detail": json.loads(r.detail)} for r in rows]

    def _touched(self) -> set[int]:
        """Topics a researcher took a step on, and those that were merged into."""
        mine = self.store.mine(topic_steps), topic_steps.c.kind.not_in(("found", "regrouped"))
        with self.store.reading() as connection:
            numbers = set(connection.execute(sa.select(topic_steps.c.topic_id).where(*mine)).scalars())
        return numbers | {r.merged_into for r in self.rows().values() if r.merged_into is not None}

    def rows(self, connection: sa.Connection | None = None) -> dict[int, TopicRow]:
        """Every topic by number, ascending."""
        if connection is None:
            with self.store.reading() as opened:
                return self.rows(opened)
        query = sa.select(topics).where(self.store.mine(topics)).order_by(topics.c.id)
        return {
            r.id: TopicRow(r.id, r.level, r.parent_id, r.name, r.given_name, r.state, r.merged_into, bool(r.pinned))
            for r in connection.execute(query)
        }

    def groups(self) -> dict[int, tuple[int, ...]]:
        """Submission → the topics it counts in: its concrete and broad one, or what these were merged into."""
        rows = self.rows()
        found = {}
        for number, (topic, broad) in self._assigned().items():
            concrete = final(rows, topic)
            above = rows[concrete].parent if concrete is not None else None
            chosen = (
                concrete,
                final(rows, NONE if above is None else above) if concrete is not None else final(rows, broad),
            )
            found[number] = tuple(one for one in chosen if one is not None)
        return found


_STATES = {"dismissed": "搁置", "merged": "并入其他议题"}


def _known(rows: Mapping[int, TopicRow], number: int, field: str) -> TopicRow:
    if number not in rows:
        raise NotFound(field, f"没有编号为 {number} 的议题")
    return rows[number]


def _labels(numbers: Sequence[int], assigned: Mapping[int, tuple[int, int]]) -> NDArray[np.int64]:
    return np.array([assigned.get(n, (NONE, NONE)) for n in numbers], dtype=np.int64).reshape(-1, 2)


def _tree(rows: Iterable[TopicRow]) -> tuple[dict[int, int | None], set[int]]:
    """Every concrete topic → its broad one, where that is among them, and the broad ones."""
    own = list(rows)
    broads = {row.id for row in own if row.level == "broad"}
    return {r.id: r.parent if r.parent in broads else None for r in own if r.level == "concrete"}, broads


def _or_none(number: int | None) -> int:
    return NONE if number is None else number


def final(rows: Mapping[int, TopicRow], number: int) -> int | None:
    """The topic that a topic's submissions count under."""
    while number in rows and rows[number].merged_into is not None:
        number = rows[number].merged_into or NONE
    return number if number in rows else None
