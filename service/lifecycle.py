"""What people do with a submission, each step an event: from registration to the archive, and corrections.

The table of steps is ``service/steps.py``. A step is one transaction, for one submission or all members of a case, and
is refused whole: with the present state and what is possible, or naming the field at fault.

    CaseError
    ├── MatchMissing       the caller must say which version it has seen
    └── Conflict
        ├── StepRefused    not possible in the present state; carries ``state`` and ``possible``
        └── Stale          the submission has changed since the caller looked
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import sqlalchemy as sa

from nlp.errors import InputError
from nlp.taxonomy import Taxonomy
from nlp.units import Units
from service import standings as kept
from service.cases import CaseError, Conflict, NotFound, signed
from service.dates import CHINA
from service.fields import checked, unit_name
from service.replies import keep
from service.roster import must_know
from service.settings import Settings
from service.standings import STATE
from service.steps import OUTCOMES, RUNNING, STEPS, Event, Standing, fold, possible, retracted
from service.store import Analysis, Store, Submission, filed
from service.tables import analyses, case_members, cases, events, replies, standings, submissions
from service.workdays import Calendar, load_calendar, load_limits

__all__ = ["Correction", "Due", "Lifecycle", "MatchMissing", "Rules", "Stale", "Standing", "StepRefused", "load_rules"]
Due = Literal["soon", "over"]


class StepRefused(Conflict):
    """A step that the present state does not allow."""

    def __init__(self, number: int, kind: str, standing: Standing) -> None:
        self.state, self.possible = standing.state, possible(standing)
        named = "、".join(f"{STEPS[one].name} {one}" for one in self.possible) or "无"
        again = "已登记过" if kind == "registered" and standing.number else f"现为“{standing.state}”"
        if standing.state in RUNNING and standing.lead_unit is None:
            again += "（未转办）"
        super().__init__("kind", f"{number} 号材料{again}，不能“{STEPS[kind].name}”；可以：{named}")


class MatchMissing(CaseError):
    """A change that is only taken from those who say what they have seen."""


class Stale(Conflict):
    """What the caller decided upon is no longer what is stored."""


@dataclass(frozen=True)
class Rules:
    """What an office has settled: its calendar, working days by category and otherwise, ratings, what is due soon."""

    calendar: Calendar = field(default_factory=Calendar)
    limits: Mapping[str, int] = field(default_factory=dict)
    limit: int = 15
    soon: int = 3
    ratings: tuple[str, ...] = ("满意", "基本满意", "不满意")


@dataclass(frozen=True)
class Correction:
    """What people decided of a submission, with who, why and when it was last changed."""

    number: int
    theme: str | None
    matter: str | None
    unit: str | None
    actor: str
    reason: str
    at: str


def load_rules(settings: Settings) -> Rules:
    """The rules that the settings name; raises DataError with file and line."""
    folder = settings.corpora / "calendar"
    ratings = tuple(one.strip() for one in settings.ratings.split(",") if one.strip())
    limits = load_limits(folder / "limits.tsv")
    return Rules(load_calendar(folder), limits, settings.limit_days, settings.soon_days, ratings)


class Lifecycle:
    """The steps of a store's submissions. Safe to share between threads; ``units``: all that a step may name."""

    def __init__(self, store: Store, rules: Rules | None = None, units: Units | None = None) -> None:
        self.store = store
        self.rules = rules or Rules()
        self.units = units

    def standing(self, numbers: Sequence[int]) -> dict[int, Standing]:
        """Where those submissions among ``numbers`` that exist stand."""
        with self.store.reading() as connection:
            return kept.load(connection, self.store.office_id, numbers)

    def events(self, number: int) -> list[Event]:
        """All that happened to a submission, oldest first; raises NotFound."""
        with self.store.reading() as connection:
            self._standing(connection, number)
            return [event for _, event in kept.told(connection, self.store.office_id, number)]

    def replies(self, number: int) -> list[str]:
        """The replies to a submission, oldest first."""
        query = sa.select(replies.c.text).where(self.store.mine(replies), replies.c.submission_id == number)
        with self.store.reading() as connection:
            return list(connection.execute(query.order_by(replies.c.id)).scalars())

    def version(self, number: int) -> int:
        """The number of a submission's last event."""
        with self.store.reading() as connection:
            return self._version(connection, number)

    def must_match(self, number: int, expected: frozenset[int] | None) -> None:
        """Say before the work that it would be in vain; raises NotFound or Stale."""
        with self.store.reading() as connection:
            self._must_match(connection, number, expected)

    def step(
        self,
        number: int,
        kind: str,
        actor: str,
        reason: str,
        given: Mapping[str, Any] | None = None,
        *,
        members: bool = False,
        proposed: str | None = None,
        expected: frozenset[int] | None = None,
    ) -> tuple[int, ...]:
        """Take a step; ``members``: on the whole case that this submission leads. Numbers it was taken on.

        Whoever has no running number yet gets it first. ``proposed``: the machine's unit for this one, kept with the
        step; ``expected``: versions the caller may have seen. Raises InputError, NotFound, Conflict or CalendarEnds.
        """
        actor, reason = signed(actor, reason)
        if kind not in STEPS or not STEPS[kind].by_hand:
            known = "、".join(one for one, step in STEPS.items() if step.by_hand)
            raise InputError("invalid_value", "kind", f"没有 {kind[:40]!r} 这一步，应为 {known} 之一")
        detail = checked(kind, given or {}, self.rules.ratings, self.rules.limits, self.units)
        told = {"proposed": proposed} if proposed else {}
        with self.store.writing() as connection:
            self._must_match(connection, number, expected)
            numbers = self._with_members(connection, number) if members else (number,)
            for one in numbers:
                self.take(connection, one, kind, actor, reason, detail | (told if one == number else {}))
        return numbers

    def correct(
        self,
        number: int,
        actor: str,
        reason: str,
        taxonomy: Taxonomy,
        *,
        theme: str | None = None,
        matter: str | None = None,
        unit: str | None = None,
        override: str | None = None,
        expected: frozenset[int] | None = None,
    ) -> None:
        """Decide theme, matter or unit in place of the machine, for good; a unit that has it is changed at once.

        Raises InputError, NotFound, StepRefused, Stale, Conflict or CalendarEnds.
        """
        actor, reason = signed(actor, reason)
        if theme is None and matter is None and unit is None:
            raise InputError("missing_field", "theme", "theme、matter、unit 至少给出一个")
        unit = None if unit is None else unit_name("unit", unit, self.units)
        with self.store.writing() as connection:
            self._must_match(connection, number, expected)
            standing = self._standing(connection, number)
            if standing.state not in STEPS["corrected"].moves:
                raise StepRefused(number, "corrected", standing)
            query = sa.select(analyses.c.primary_theme, analyses.c.matter)
            row = connection.execute(
                query.where(self.store.mine(analyses), analyses.c.submission_id == number)
            ).one_or_none()
            machine = (row.primary_theme, row.matter) if row else (None, None)
            before = (standing.theme, standing.matter) if standing.theme else machine
            decided = _decided(taxonomy, theme, matter, before[1])
            if unit is not None:
                decided["unit"] = unit
            was = {"theme": before[0], "matter": before[1], "unit": standing.unit or standing.lead_unit}
            told = {name: value for name, value in was.items() if name in decided}
            self.store.record(connection, number, "corrected", actor, {**decided, "before": told, "reason": reason})
            if unit is not None and standing.state in RUNNING and unit != standing.lead_unit:
                again = {"unit": unit, "override": override} if override else {"unit": unit}
                detail = checked("routed", again, (), {}, self.units)
                self.take(connection, number, "routed", actor, reason, detail)

    def revise(
        self,
        number: int,
        submission: Submission,
        analysis: Analysis | None,
        encoder_id: str,
        actor: str,
        reason: str,
        expected: frozenset[int] | None,
    ) -> None:
        """Put changed particulars in place, with the new analysis they need; raises NotFound, StepRefused or Stale."""
        actor, reason = signed(actor, reason)
        with self.store.writing() as connection:
            self._must_match(connection, number, expected)
            standing = self._standing(connection, number)
            if standing.state not in STEPS["revised"].moves:
                raise StepRefused(number, "revised", standing)
            stored = self.store.get(number)
            assert stored is not None  # noqa: S101  (it has a standing)
            old, new = asdict(stored.submission), asdict(submission)
            changed = [name for name in new if new[name] != old[name]]
            if changed:
                told = {"fields": changed, **filed(submission), "reason": reason}
                self.store.record(connection, number, "revised", actor, told)
                self.store.amend(connection, number, submission, analysis, encoder_id)

    def corrections(self, *, after: int = 0, limit: int = 200) -> list[Correction]:
        """What people decided, of submissions numbered above ``after``, ascending: training data."""
        mine = self.store.mine(standings), standings.c.corrected.is_not(None), standings.c.submission_id > after
        event = sa.and_(events.c.office_id == standings.c.office_id, events.c.id == standings.c.corrected)
        query = (
            sa.select(standings.c.submission_id, events.c.actor, events.c.at, events.c.detail)
            .join_from(standings, events, event)
            .where(*mine, STATE != "已删除")
            .order_by(standings.c.submission_id)
            .limit(limit)
        )
        with self.store.reading() as connection:
            rows = connection.execute(query).all()
            found = kept.load(connection, self.store.office_id, [row.submission_id for row in rows])
        return [
            Correction(
                row.submission_id,
                found[row.submission_id].theme,
                found[row.submission_id].matter or None,
                found[row.submission_id].unit,
                row.actor,
                json.loads(row.detail)["reason"],
                row.at,
            )
            for row in rows
        ]

    def conditions(
        self, *, state: str | None = None, unit: str | None = None, due: Due | None = None
    ) -> list[sa.ColumnElement[bool]]:
        """For ``Store.page``: in this state, with this lead unit, due soon or overdue."""
        found: list[sa.ColumnElement[bool]] = []
        if state is not None:
            found.append(STATE.in_((state,)))
        if unit is not None:
            found.append(standings.c.lead_unit == unit)
        if due is not None:
            today = self.today()
            found.append(standings.c.state.in_(RUNNING))
            if due == "over":
                found.append(standings.c.due < today.isoformat())
            else:
                last = self.rules.calendar.about(today, self.rules.soon)
                found.append(standings.c.due.between(today.isoformat(), last.isoformat()))
        return found

    def rebuild(self) -> int:
        """Make all standings again from the events; how many have moved from where they began."""
        with self.store.writing() as connection:
            return kept.rebuild(connection, self.store.office_id)

    def today(self) -> date:
        """The day it is in China."""
        return datetime.fromisoformat(self.store.now()).astimezone(CHINA).date()

    def take(
        self, connection: sa.Connection, number: int, kind: str, actor: str, reason: str, given: Mapping[str, Any]
    ) -> None:
        """Take a step whose fields are checked, in a transaction of the caller's; raises as ``step`` does."""
        standing = self.must_allow(connection, number, kind)
        if standing.number is None and kind != "credited":
            running = kept.take_number(connection, self.store.office_id, self.today().year)
            category = {name: given[name] for name in ("category",) if name in given}
            self.store.record(
                connection, number, "registered", actor, {"number": running, **category, "reason": reason}
            )
            if kind == "registered":
                return
        detail = {**given, **self._derived(connection, number, kind, standing, given), "reason": reason}
        self.store.record(connection, number, kind, actor, detail)

    def must_allow(self, connection: sa.Connection, number: int, kind: str) -> Standing:
        """Where a submission stands; raises NotFound, or StepRefused where that does not allow this step."""
        standing = self._standing(connection, number)
        if kind not in possible(standing) if STEPS[kind].by_hand else standing.state not in STEPS[kind].moves:
            raise StepRefused(number, kind, standing)
        return standing

    def _derived(
        self, connection: sa.Connection, number: int, kind: str, standing: Standing, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What an event holds beside the fields given: raises where they do not fit what is stored."""
        match kind:
            case "routed" | "split":
                units = [given["unit"]] if kind == "routed" else [part["unit"] for part in given["parts"]]
                for unit in units:
                    if unit in standing.returned_by and not given.get("override"):
                        where = "unit" if kind == "routed" else "parts"
                        told = f"{number} 号材料曾被{unit}退单，不再派回；确需派回请在 override 中写明理由"
                        raise Conflict(where, told)
                limits = self.rules.limits
                days = given.get("days") or limits.get(given.get("category") or standing.category or "")
                days = days or self.rules.limit
                return {"days": days, "due": self.rules.calendar.after(self.today(), days).isoformat()}
            case "extended":
                if given["due"] <= (standing.due or ""):
                    raise InputError("invalid_value", "due", f"应晚于现在的时限 {standing.due}，实为 {given['due']}")
            case "returned" if standing.state in RUNNING:
                return {"by_unit": standing.lead_unit}
            case "answered":
                return {"reply": keep(self.store, connection, number, given["reply"])}
            case "adopted" | "instructed" | "implemented":
                if given.get("happened_on", "") > (today := self.today().isoformat()):
                    raise InputError("invalid_value", "happened_on", f"{given['happened_on']} 还没有到，今天是 {today}")
            case "retracted":
                return self._without(connection, number, given["event"])
            case "credited":
                must_know(self.store, connection, given["persons"])
        return {}

    def _without(self, connection: sa.Connection, number: int, target: int) -> dict[str, Any]:
        """What a record that is taken back was, and what the standing says without it."""
        told = [event for _, event in kept.told(connection, self.store.office_id, number)]
        found = next((event for event in told if event.id == target), None)
        if found is None or found.kind not in OUTCOMES:
            names = "、".join(STEPS[kind].name for kind in OUTCOMES)
            raise InputError("invalid_value", "event", f"{number} 号材料没有 {target} 号的{names}记录")
        gone = retracted(told)
        if target in gone:
            raise Conflict("event", f"{target} 号记录已经撤销")
        rest = fold(e for e in told if e.id not in gone | {target} and e.kind != "retracted")
        return {"of": found.kind, "left": getattr(rest, OUTCOMES[found.kind])}

    def _with_members(self, connection: sa.Connection, number: int) -> tuple[int, ...]:
        """The members of the open case that a submission leads, itself first, those withdrawn or erased left out."""
        same = sa.and_(case_members.c.office_id == cases.c.office_id, case_members.c.case_id == cases.c.id)
        query = (
            sa.select(case_members.c.submission_id)
            .join_from(case_members, cases, same)
            .where(self.store.mine(cases), cases.c.lead_id == number, case_members.c.open == 1)
            .where(case_members.c.submission_id.in_(sa.select(submissions.c.id).where(self.store.present())))
            .order_by(case_members.c.submission_id)
        )
        found = list(connection.execute(query).scalars())
        if not found:
            raise Conflict("members", f"{number} 号材料不是有效并案的主件，不能一并办理各件")
        gone = kept.withdrawn(connection, self.store.office_id) - {number}
        return tuple(sorted((one for one in found if one not in gone), key=lambda one: (one != number, one)))

    def _standing(self, connection: sa.Connection, number: int) -> Standing:
        known = kept.load(connection, self.store.office_id, [number]) if 0 < number < 2**31 else {}
        if number not in known:
            raise NotFound("id", f"没有编号为 {number} 的材料")
        return known[number]

    def _version(self, connection: sa.Connection, number: int) -> int:
        query = sa.select(sa.func.max(events.c.id)).where(self.store.mine(events), events.c.submission_id == number)
        return int(connection.execute(query).scalar() or 0)

    def _must_match(self, connection: sa.Connection, number: int, expected: frozenset[int] | None) -> None:
        self._standing(connection, number)
        now = self._version(connection, number)
        if expected is not None and now not in expected:
            raise Stale("If-Match", f"{number} 号材料已有新的变动（现为 {now}），请重新读取后再试")


def _decided(taxonomy: Taxonomy, theme: str | None, matter: str | None, before: str | None) -> dict[str, Any]:
    """Theme and matter that agree, "" for a matter that is no longer known; raises InputError."""
    if matter is not None:
        known = taxonomy.matter_by_id.get(matter)
        if known is None:
            raise InputError("invalid_value", "matter", f"分类体系中没有 {matter[:40]!r}")
        if theme is not None and theme != known.theme:
            raise InputError("invalid_value", "theme", f"细类 {matter} 属于 {known.theme}，与 {theme[:40]!r} 不符")
        return {"theme": known.theme, "matter": matter}
    if theme is None:
        return {}
    if theme not in taxonomy.theme_by_id:
        raise InputError("invalid_value", "theme", f"分类体系中没有 {theme[:40]!r}")
    same = before in taxonomy.matter_by_id and taxonomy.matter_by_id[before or ""].theme == theme
    return {"theme": theme, "matter": before if same else ""}
