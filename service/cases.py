"""Cases (并案) and follow-ups (续报): reversible, every step an event in the same transaction.

Merging touches no submission: each keeps its number, text, date and submitter. A submission is in at most one open
case, and a follow-up in none: it is a voice that was counted before.

    MinshengError
    └── CaseError     carries ``field``
        ├── NotFound      a number that does not exist
        └── Conflict      what is stored stands against it
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from nlp.errors import InputError, MinshengError
from nlp.normalise import validate
from service.standings import withdrawn
from service.store import Store, Submitter, now
from service.tables import case_members, cases, events, follows, submissions
from service.voices import count_voices, phone_of

State = Literal["open", "undone"]
MAX_MEMBERS = 1000
_MAX_REASON = 500
_MAX_ACTOR = 100


class CaseError(MinshengError):
    """A step on a case or follow-up that cannot be taken; ``field`` names the part of the request at fault."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}：{detail}")
        self.field = field
        self.detail = detail


class NotFound(CaseError):
    """No such submission, case, member or link."""


class Conflict(CaseError):
    """Already in a case, already undone, a follow-up: what is stored has to change first."""


@dataclass(frozen=True)
class Case:
    """``members``: the lead first, then by number; ``left``: those taken out on their own. Times: ISO 8601, UTC.

    An undone case (``closed_at`` is set) keeps the list of those it held to the end.
    """

    id: int
    lead: int
    members: tuple[int, ...]
    left: tuple[int, ...]
    opened_at: str
    closed_at: str | None

    @property
    def state(self) -> State:
        """Whether it stands."""
        return "open" if self.closed_at is None else "undone"


@dataclass(frozen=True)
class Outline:
    """A case, its submissions and distinct submitters: follow-ups, withdrawn ones are neither, erased ones no voice."""

    case: Case
    count: int
    voices: int
    follow_ups: tuple[int, ...]
    erased: tuple[int, ...]


class Cases:
    """The cases and follow-ups of a store. Each call is one transaction; safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def merge(self, lead: int, members: Sequence[int], actor: str, reason: str) -> Case:
        """Open a case over ``members`` (the lead among them); raises InputError, NotFound or Conflict."""
        actor, reason = signed(actor, reason)
        _no_repeats(members)
        if lead not in members:
            named = "、".join(map(str, members[:20]))
            raise InputError("invalid_value", "lead", f"主件 {lead} 号材料不在 members（{named}）中")
        if not 2 <= len(members) <= MAX_MEMBERS:
            raise InputError(
                "invalid_value", "members", f"并案应有 2 至 {MAX_MEMBERS} 件材料（含主件），实有 {len(members)} 件"
            )
        with self.store.writing() as connection:
            self._must_be_free(connection, members)
            number = self.store.next_number(connection, cases)
            row = {"id": number, "lead_id": lead, "opened_at": now()}
            connection.execute(cases.insert().values(office_id=self.store.office_id, **row))
            self._enter(connection, number, lead, members, actor, reason)
            return self._case(connection, number)

    def join(self, number: int, members: Sequence[int], actor: str, reason: str) -> Case:
        """Add later arrivals to an open case; raises InputError, NotFound or Conflict."""
        actor, reason = signed(actor, reason)
        _no_repeats(members)
        with self.store.writing() as connection:
            case = self._open_case(connection, number)
            total = len(case.members) + len(members)
            if not members or total > MAX_MEMBERS:
                raise InputError(
                    "invalid_value",
                    "members",
                    f"应有至少 1 件，且并入后不超过 {MAX_MEMBERS} 件；实有 {len(members)} 件，并入后 {total} 件",
                )
            self._must_be_free(connection, members)
            self._enter(connection, number, case.lead, members, actor, reason)
            return self._case(connection, number)

    def undo(self, number: int, actor: str, reason: str, member: int | None = None) -> Case:
        """Take out one member, or undo the whole case; a case left with its lead alone is undone with it.

        Raises InputError, NotFound or Conflict.
        """
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            case = self._open_case(connection, number)
            leaving: Collection[int] = case.members
            if member is not None:
                if member not in case.members:
                    raise NotFound("member", f"并案 {number} 中没有 {member} 号材料")
                if member == case.lead:
                    raise Conflict(
                        "member", f"{member} 号材料是并案 {number} 的主件，不能单独撤出；可撤销整个并案后另选主件"
                    )
                self._change_members(connection, number, [member], open=None, left_at=now())
                leaving = case.members if len(case.members) == 2 else [member]
            whole = len(leaving) == len(case.members)
            if whole:
                self._change_members(connection, number, case.members, open=None)
                here = self.store.mine(cases), cases.c.id == number
                connection.execute(cases.update().where(*here).values(closed_at=now()))
            for one in leaving:
                detail = {"case": number, "reason": reason, "whole": whole}
                self.store.record(connection, one, "unmerged", actor, detail)
            return self._case(connection, number)

    def get(self, number: int) -> Case:
        """One case; raises NotFound."""
        with self.store.reading() as connection:
            return self._case(connection, number)

    def outline(self, case: Case) -> Outline:
        """The counts of a case."""
        with self.store.reading() as connection:
            gone = withdrawn(connection, self.store.office_id)
        counted = [number for number in case.members if number not in gone]
        present = {item.id: item.submission.submitter for item in self.store.get_many(case.members)}
        voices = count_voices(present[number] for number in counted if number in present)
        later = self.later(case.members)
        follow_ups = tuple(sorted(number for numbers in later.values() for number in numbers))
        erased = tuple(number for number in case.members if number not in present)
        return Outline(case, len(counted), voices, follow_ups, erased)

    def page(self, *, after: int = 0, limit: int = 50, state: State | None = None) -> list[Case]:
        """Cases numbered above ``after``, ascending."""
        query = sa.select(cases.c.id).where(self.store.mine(cases), cases.c.id > after)
        if state is not None:
            query = query.where(cases.c.closed_at.is_(None) if state == "open" else cases.c.closed_at.is_not(None))
        with self.store.reading() as connection:
            numbers = connection.execute(query.order_by(cases.c.id).limit(limit)).scalars().all()
            return [self._case(connection, number) for number in numbers]

    def case_of(self, number: int) -> int | None:
        """The open case a submission is in."""
        with self.store.reading() as connection:
            return self._open_cases(connection, [number]).get(number)

    def memberships(self, numbers: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
        """Submission → (open case, its lead), for all that are in one, or those among ``numbers``."""
        query = (
            sa.select(case_members.c.submission_id, case_members.c.case_id, cases.c.lead_id)
            .join_from(case_members, cases, _same_case())
            .where(self.store.mine(case_members), case_members.c.open == 1)
        )
        if numbers is not None:
            query = query.where(case_members.c.submission_id.in_(numbers))
        with self.store.reading() as connection:
            return {row.submission_id: (row.case_id, row.lead_id) for row in connection.execute(query)}

    def history(self, number: int) -> list[dict[str, Any]]:
        """The steps of a case, oldest first, each with the submission it is about; raises NotFound."""
        with self.store.reading() as connection:
            case = self._case(connection, number)
            query = sa.select(events).where(
                self.store.mine(events),
                events.c.submission_id.in_((*case.members, *case.left)),
                events.c.kind.in_(("merged", "unmerged", "erased")),
            )
            rows = connection.execute(query.order_by(events.c.id)).all()
        steps = [(row, json.loads(row.detail)) for row in rows]
        return [
            {"kind": row.kind, "submission_id": row.submission_id, "actor": row.actor, "at": row.at, "detail": detail}
            for row, detail in steps
            if detail.get("case") == number
        ]

    def follow(self, number: int, earlier: int, actor: str, reason: str) -> None:
        """Link a submission to the earlier one of the same submitter; raises InputError, NotFound or Conflict."""
        actor, reason = signed(actor, reason)
        if number == earlier:
            raise InputError("invalid_value", "earlier", f"{number} 号材料不能是自己的续报")
        with self.store.writing() as connection:
            self._must_exist(connection, [number], "id")
            self._must_exist(connection, [earlier], "earlier")
            links = self._links(connection)
            if number in links:
                raise Conflict("id", f"{number} 号材料已是 {links[number]} 号材料的续报，请先解除")
            above = earlier
            while above in links:
                above = links[above]
                if above == number:
                    raise Conflict("earlier", f"{earlier} 号材料本身是 {number} 号材料的续报，不能互为续报")
            case = self._open_cases(connection, [number]).get(number)
            if case is not None:
                raise Conflict("id", f"{number} 号材料已在并案 {case} 中，请先将其撤出")
            self._must_not_be_others(connection, number, earlier)
            row = {"submission_id": number, "earlier_id": earlier}
            connection.execute(follows.insert().values(office_id=self.store.office_id, **row))
            self.store.record(connection, number, "follows", actor, {"earlier": earlier, "reason": reason})

    def unfollow(self, number: int, actor: str, reason: str) -> None:
        """Take the link of a follow-up away; raises InputError or NotFound."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            self._must_exist(connection, [number], "id")
            earlier = self._links(connection).get(number)
            if earlier is None:
                raise NotFound("id", f"{number} 号材料不是任何材料的续报")
            here = self.store.mine(follows), follows.c.submission_id == number
            connection.execute(follows.delete().where(*here))
            self.store.record(connection, number, "unfollowed", actor, {"earlier": earlier, "reason": reason})

    def links(self) -> dict[int, int]:
        """Every follow-up → the earlier submission it was linked to."""
        with self.store.reading() as connection:
            return self._links(connection)

    def later(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """For each submission the follow-ups to it, and those to them, ascending."""
        direct: dict[int, list[int]] = {}
        for number, earlier in self.links().items():
            direct.setdefault(earlier, []).append(number)
        found = {}
        for number in numbers:
            below = list(direct.get(number, []))
            for one in below:  # grows while it is walked; links have no circles
                below += direct.get(one, [])
            found[number] = sorted(below)
        return found

    def _case(self, connection: sa.Connection, number: int) -> Case:
        known = 0 < number < 2**31
        query = sa.select(cases).where(self.store.mine(cases), cases.c.id == number)
        row = connection.execute(query).one_or_none() if known else None
        if row is None:
            raise NotFound("case", f"没有编号为 {number} 的并案")
        members = sa.select(case_members.c.submission_id, case_members.c.left_at).where(
            self.store.mine(case_members), case_members.c.case_id == number
        )
        rows = connection.execute(members.order_by(case_members.c.submission_id)).all()
        inside = sorted((m.submission_id for m in rows if m.left_at is None), key=lambda m: (m != row.lead_id, m))
        left = tuple(m.submission_id for m in rows if m.left_at is not None)
        return Case(number, row.lead_id, tuple(inside), left, row.opened_at, row.closed_at)

    def _open_case(self, connection: sa.Connection, number: int) -> Case:
        case = self._case(connection, number)
        if case.closed_at is not None:
            raise Conflict("case", f"并案 {number} 已于 {case.closed_at} 撤销")
        return case

    def _must_exist(self, connection: sa.Connection, numbers: Sequence[int], field: str) -> None:
        possible = [number for number in numbers if 0 < number < 2**31]
        query = sa.select(submissions.c.id, submissions.c.erased_at)
        query = query.where(self.store.mine(submissions), submissions.c.id.in_(possible))
        there = {row.id: row.erased_at for row in connection.execute(query)}
        for number in numbers:
            if number not in there or there[number] is not None:
                erased = f"{number} 号材料已于 {there.get(number)} 删除"
                raise NotFound(field, erased if number in there else f"没有编号为 {number} 的材料")

    def _must_be_free(self, connection: sa.Connection, numbers: Sequence[int]) -> None:
        self._must_exist(connection, numbers, "members")
        taken, links = self._open_cases(connection, numbers), self._links(connection)
        for number in numbers:
            if number in taken:
                raise Conflict("members", f"{number} 号材料已在并案 {taken[number]} 中，请先将其撤出")
            if number in links:
                raise Conflict(
                    "members", f"{number} 号材料是 {links[number]} 号材料的续报，不另行并案；如不是续报请先解除"
                )

    def _must_not_be_others(self, connection: sa.Connection, number: int, earlier: int) -> None:
        """A follow-up takes a voice away: refuse where the two submitters are plainly two people."""
        query = sa.select(submissions.c.submitter_name, submissions.c.submitter_phone).where(
            self.store.mine(submissions), submissions.c.id.in_((number, earlier))
        )
        one, two = (Submitter(name=row.submitter_name, phone=row.submitter_phone) for row in connection.execute(query))
        known = [(a, b) for a, b in ((one.name, two.name), (phone_of(one), phone_of(two))) if a and b]
        if known and all(a != b for a, b in known):
            raise Conflict("earlier", f"{number} 号与 {earlier} 号材料的反映人不同，不是续报；如属同一件事请并案")

    def _open_cases(self, connection: sa.Connection, numbers: Sequence[int]) -> dict[int, int]:
        query = sa.select(case_members.c.submission_id, case_members.c.case_id).where(
            self.store.mine(case_members), case_members.c.open == 1, case_members.c.submission_id.in_(numbers)
        )
        return {row.submission_id: row.case_id for row in connection.execute(query)}

    def _links(self, connection: sa.Connection) -> dict[int, int]:
        rows = connection.execute(sa.select(follows).where(self.store.mine(follows)))
        return {row.submission_id: row.earlier_id for row in rows}

    def _enter(
        self, connection: sa.Connection, number: int, lead: int, members: Sequence[int], actor: str, reason: str
    ) -> None:
        for member in members:
            key = self.store.mine(case_members), case_members.c.case_id == number
            here = *key, case_members.c.submission_id == member
            connection.execute(case_members.delete().where(*here))  # it may have been in, and left, before
            row = {"case_id": number, "submission_id": member, "open": 1}
            connection.execute(case_members.insert().values(office_id=self.store.office_id, **row))
            detail = {"case": number, "lead": lead, "reason": reason}
            self.store.record(connection, member, "merged", actor, detail)

    def _change_members(self, connection: sa.Connection, number: int, members: Sequence[int], **values: Any) -> None:
        here = self.store.mine(case_members), case_members.c.case_id == number
        which = case_members.c.submission_id.in_(members)
        connection.execute(case_members.update().where(*here, which).values(**values))


def _same_case() -> sa.ColumnElement[bool]:
    return sa.and_(case_members.c.office_id == cases.c.office_id, case_members.c.case_id == cases.c.id)


def signed(actor: str, reason: str) -> tuple[str, str]:
    """Who takes the step and why: both are part of the record; raises InputError."""
    return validate(actor, "actor", _MAX_ACTOR).strip(), validate(reason, "reason", _MAX_REASON).strip()


def _no_repeats(members: Sequence[int]) -> None:
    seen: set[int] = set()
    for number in members:
        if number in seen:
            raise InputError("invalid_value", "members", f"{number} 号材料重复")
        seen.add(number)
