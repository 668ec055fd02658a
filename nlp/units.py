"""Who is responsible for what: units, the table matter × place × condition, and what is out of remit — data that an
office edits.

``corpora/units/`` is the shipped folder. The table keys on matters, never on themes, and every row carries the sentence
that answers 「为什么转给这个单位？」.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import regex

from nlp.errors import DataError, InputError
from nlp.lexicon import rows

UNIT_COLUMNS = tuple("id name aliases level district duties basis valid_from valid_to source".split())
DUTY_COLUMNS = tuple("matter variant cues not_cues place_rule lead support basis reason valid_from source".split())
REFERRAL_COLUMNS = tuple("kind matters cues not_cues channel reason".split())
LEVELS = ("city", "district", "zone", "enterprise", "province")
PLACE_RULES = ("city", "district", "zone")
DISTRICT = "district"  # the government of the place; inside a development zone that governs, its committee
ZONE = "zone"  # the committee of the zone; such a row holds only for places in a zone
OFFICE = "office"  # nobody: the receiving office keeps, returns or answers it
ROLES = (DISTRICT, ZONE, OFFICE)


@dataclass(frozen=True)
class Unit:
    """A unit that can be given something to do. ``valid_to``: its last day; None while it exists."""

    id: str
    name: str
    aliases: tuple[str, ...]
    level: str
    district: str
    duties: str
    basis: str
    valid_from: date
    valid_to: date | None
    source: str

    @property
    def names(self) -> tuple[str, ...]:
        """Name and aliases."""
        return (self.name, *self.aliases)


@dataclass(frozen=True)
class Duty:
    """A row of the responsibility table.

    cues: words of which one must stand in the text; none for the default of the matter. not_cues: words that rule the
    row out. lead, support: unit ids or roles. In force from ``valid_from`` until a later row with the same key.
    """

    matter: str
    variant: str
    cues: tuple[str, ...]
    not_cues: tuple[str, ...]
    place_rule: str
    lead: str
    support: tuple[str, ...]
    basis: str
    reason: str
    valid_from: date
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What a later row supersedes: matter, variant, place rule."""
        return self.matter, self.variant, self.place_rule


@dataclass(frozen=True)
class Referral:
    """What is out of remit: whom to ask instead and why. ``matters``: where it may be proposed; empty for anywhere."""

    kind: str
    matters: tuple[str, ...]
    cues: tuple[str, ...]
    not_cues: tuple[str, ...]
    channel: str
    reason: str


@dataclass(frozen=True)
class Match:
    """A row that a text selects, with the cues found in it, in the order of the text; none for the default."""

    duty: Duty
    cues: tuple[str, ...]


@dataclass(frozen=True)
class Units:
    """Units, duties and referrals in file order."""

    units: tuple[Unit, ...]
    duties: tuple[Duty, ...]
    referrals: tuple[Referral, ...] = ()

    @cached_property
    def unit_by_id(self) -> dict[str, Unit]:
        """Units by id."""
        return {unit.id: unit for unit in self.units}

    @cached_property
    def _unit_by_name(self) -> dict[str, Unit]:
        # A name passed on from a closed unit to its successor means the successor.
        return {name: unit for unit in sorted(self.units, key=lambda u: u.valid_from) for name in unit.names}

    @cached_property
    def local(self) -> dict[str, Unit]:
        """The governments and zone committees by district or, where they have none, by name."""
        return {unit.district or unit.name: unit for unit in self.units if unit.level in ("district", "zone")}

    @cached_property
    def zone_names(self) -> dict[str, Unit]:
        """Names of the zones that the gazetteer has no district for: only their own names tell them."""
        return {name: unit for unit in self.units if unit.level == "zone" and not unit.district for name in unit.names}

    @cached_property
    def _duties_by_matter(self) -> dict[str, tuple[Duty, ...]]:
        matters = dict.fromkeys(duty.matter for duty in self.duties)
        return {matter: tuple(duty for duty in self.duties if duty.matter == matter) for matter in matters}

    @cached_property
    def _cues_of_matter(self) -> dict[str, Any]:
        # Longest first: 「人行道停车」 is not also 「停车」.
        words = {m: {cue for duty in duties for cue in duty.cues} for m, duties in self._duties_by_matter.items()}
        return {
            matter: regex.compile("|".join(regex.escape(cue) for cue in sorted(cues, key=lambda c: (-len(c), c))))
            for matter, cues in words.items()
            if cues
        }

    def find(self, name: str, field: str = "unit") -> Unit:
        """The unit with this id, name or alias; raises InputError with the nearest names."""
        wanted = name.strip()
        unit = self.unit_by_id.get(wanted) or self._unit_by_name.get(wanted)
        if unit is None:
            near = difflib.get_close_matches(wanted, self._unit_by_name, n=3)
            hint = f"，相近的有：{'、'.join(near)}" if near else ""
            raise InputError("invalid_value", field, f"单位表中没有“{wanted}”{hint}")
        return unit

    def at(self, day: date) -> Units:
        """What is in force on a day: units that exist, and the latest row of each key."""
        units = tuple(u for u in self.units if u.valid_from <= day and (u.valid_to is None or day <= u.valid_to))
        latest: dict[tuple[str, str, str], Duty] = {}
        for duty in sorted(self.duties, key=lambda d: d.valid_from):
            if duty.valid_from <= day:
                latest[duty.key] = duty
        return replace(self, units=units, duties=tuple(d for d in self.duties if latest.get(d.key) is d))

    def match(self, matter: str, text: str) -> tuple[Match, ...]:
        """The rows of a matter that a text selects, best first, the default last; empty for an unknown matter.

        Best is the row with most different cues in the text, then with most places, then the earlier one. A row for
        zones stands before the row of the same variant for other places.
        """
        duties = self._duties_by_matter.get(matter, ())
        pattern = self._cues_of_matter.get(matter)
        found = Counter(hit.group() for hit in pattern.finditer(text)) if pattern else Counter[str]()
        ranked: list[tuple[tuple[int, int, int, bool], Match]] = []
        first = {duty.variant: index for index, duty in reversed(list(enumerate(duties)))}
        for duty in duties:
            cues = tuple(cue for cue in found if cue in duty.cues)
            if (cues or not duty.cues) and not any(word in text for word in duty.not_cues):
                places = sum(found[cue] for cue in cues)
                rank = (-len(cues), -places, first[duty.variant], duty.place_rule != ZONE)
                ranked.append((rank, Match(duty, cues)))
        return tuple(match for _, match in sorted(ranked, key=lambda pair: pair[0]))


def load_units(folder: Path, matters: Collection[str]) -> Units:
    """Read the three tables of a folder; ``matters``: ids of the taxonomy. Raises DataError naming file, line, column.

    Every matter needs a default row, and every unit that a row names must exist as long as the row is in force.
    """
    units = _load_units(folder / "units.tsv")
    path = folder / "responsibility.tsv"
    numbered = list(_load_duties(path, frozenset(unit.id for unit in units), frozenset(matters)))
    loaded = Units(units, tuple(duty for _, duty in numbered), _load_referrals(folder / "out_of_remit.tsv", matters))
    _check_defaults(path, numbered, matters)
    _check_cues(path, numbered)
    _check_reigns(path, numbered, loaded.unit_by_id)
    return loaded


def _load_units(path: Path) -> tuple[Unit, ...]:
    units: list[Unit] = []
    for line, row in rows(path, UNIT_COLUMNS):
        _filled(path, line, row, "id", "name", "level", "duties", "basis", "source")
        _one_of(path, line, "level", row["level"], LEVELS)
        start = _day(path, line, row, "valid_from")
        end = _day(path, line, row, "valid_to") if row["valid_to"] else None
        if end is not None and end < start:
            raise _wrong(path, line, "valid_to", f"{end} 早于 valid_from {start}")
        parsed: dict[str, Any] = {"aliases": _split(row["aliases"]), "valid_from": start, "valid_to": end}
        unit = Unit(**(row | parsed))
        if unit.id in ROLES or any(unit.id == other.id for other in units):
            raise _wrong(path, line, "id", f"{unit.id!r} 重复，或与角色 {'、'.join(ROLES)} 同名")
        for other in units:
            if _overlap(unit, other) and (same := set(unit.names) & set(other.names)):
                raise _wrong(
                    path, line, "aliases", f"“{min(same)}”已是 {other.id}（{other.name}）的名称，同一时间只能指一个"
                )
        units.append(unit)
    return tuple(units)


def _load_duties(path: Path, units: frozenset[str], matters: frozenset[str]) -> Iterator[tuple[int, Duty]]:
    seen: dict[tuple[str, str, str, date], int] = {}
    for line, row in rows(path, DUTY_COLUMNS):
        _filled(path, line, row, "matter", "variant", "lead", "basis", "reason", "source")
        _known_matters(path, line, "matter", [row["matter"]], matters)
        _one_of(path, line, "place_rule", row["place_rule"], PLACE_RULES)
        support = _split(row["support"])
        for column, ids in (("lead", (row["lead"],)), ("support", support)):
            for unit in ids:
                if unit not in units and unit not in ROLES:
                    raise _wrong(path, line, column, f"没有单位 {unit!r}；应为 units.tsv 的 id，或 {'、'.join(ROLES)}")
        if row["place_rule"] != (row["lead"] if row["lead"] in (DISTRICT, ZONE) else "city"):
            raise _wrong(path, line, "place_rule", f"是 {row['place_rule']!r}，与 lead {row['lead']!r} 不符")
        if row["lead"] == DISTRICT and not any(unit in units for unit in support):
            raise _wrong(path, line, "support", "由属地主办的，至少写一个市级单位，地点不明时由它先接")
        if row["lead"] in support:
            raise _wrong(path, line, "support", f"{row['lead']!r} 已是主办")
        parsed: dict[str, Any] = {name: _split(row[name]) for name in ("cues", "not_cues", "support")}
        duty = Duty(**(row | parsed | {"valid_from": _day(path, line, row, "valid_from")}))
        before = seen.setdefault((*duty.key, duty.valid_from), line)
        if before != line:
            raise _wrong(path, line, "valid_from", f"与第 {before} 行的细类、情形、地点、起始日都相同")
        yield line, duty


def _load_referrals(path: Path, matters: Collection[str]) -> tuple[Referral, ...]:
    referrals: list[Referral] = []
    for line, row in rows(path, REFERRAL_COLUMNS):
        _filled(path, line, row, "kind", "cues", "channel", "reason")
        lists: dict[str, Any] = {name: _split(row[name]) for name in ("matters", "cues", "not_cues")}
        _known_matters(path, line, "matters", lists["matters"], matters)
        if any(row["kind"] == other.kind for other in referrals):
            raise _wrong(path, line, "kind", f"“{row['kind']}”重复")
        referrals.append(Referral(**(row | lists)))
    return tuple(referrals)


def _check_defaults(path: Path, numbered: list[tuple[int, Duty]], matters: Collection[str]) -> None:
    """One default a matter, in force as early as any other row of it."""
    for matter in matters:
        own = [(line, duty) for line, duty in numbered if duty.matter == matter and duty.place_rule != ZONE]
        default = [(line, duty) for line, duty in own if not duty.cues]
        if not default:
            raise DataError(path, f"细类 {matter} 没有一般情形（cues 留空的一行）")
        for line, duty in default[1:]:
            if duty.variant != default[0][1].variant:
                raise _wrong(path, line, "cues", f"留空，但 {matter} 的一般情形已是“{default[0][1].variant}”")
        line, first = min(default, key=lambda pair: pair[1].valid_from)
        if first.valid_from > min(duty.valid_from for _, duty in own):
            raise _wrong(path, line, "valid_from", f"{first.valid_from} 晚于 {matter} 的其他行，中间有空档")


def _check_cues(path: Path, numbered: list[tuple[int, Duty]]) -> None:
    """A cue points to one variant of its matter."""
    owner: dict[tuple[str, str], str] = {}
    for line, duty in numbered:
        for cue in duty.cues:
            if len(cue) < 2:
                raise _wrong(path, line, "cues", f"“{cue}”太短，至少两个字")
            if owner.setdefault((duty.matter, cue), duty.variant) != duty.variant:
                raise _wrong(path, line, "cues", f"“{cue}”已是“{owner[duty.matter, cue]}”的线索词")


def _check_reigns(path: Path, numbered: list[tuple[int, Duty]], units: dict[str, Unit]) -> None:
    """The units of a row exist from its first day to the day before a later row supersedes it."""
    by_key: dict[tuple[str, str, str], list[tuple[int, Duty]]] = {}
    for line, duty in sorted(numbered, key=lambda pair: pair[1].valid_from):
        by_key.setdefault(duty.key, []).append((line, duty))
    for reigns in by_key.values():
        ends = [later.valid_from - timedelta(days=1) for _, later in reigns[1:]]
        for (line, duty), end in zip(reigns, [*ends, date.max], strict=True):
            for column, ids in (("lead", (duty.lead,)), ("support", duty.support)):
                for unit in (units[i] for i in ids if i in units):
                    if unit.valid_from > duty.valid_from:
                        raise _wrong(
                            path, line, column, f"{unit.id} 从 {unit.valid_from} 才有，此行从 {duty.valid_from} 起"
                        )
                    if unit.valid_to is not None and unit.valid_to < end:
                        raise _wrong(
                            path, line, column, f"{unit.id} 到 {unit.valid_to} 为止，此后没有新的一行接上，有空档"
                        )


def _overlap(a: Unit, b: Unit) -> bool:
    return a.valid_from <= (b.valid_to or date.max) and b.valid_from <= (a.valid_to or date.max)


def _split(cell: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in cell.split("|") if word.strip())


def _day(path: Path, line: int, row: dict[str, str], column: str) -> date:
    try:
        return date.fromisoformat(row[column])
    except ValueError:
        raise _wrong(path, line, column, f"是 {row[column]!r}，应为 2024-01-01 这样的日期") from None


def _filled(path: Path, line: int, row: dict[str, str], *columns: str) -> None:
    for column in columns:
        if not row[column]:
            raise _wrong(path, line, column, "不能为空")


def _one_of(path: Path, line: int, column: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _wrong(path, line, column, f"是 {value!r}，应为 {'、'.join(allowed)} 之一")


def _known_matters(path: Path, line: int, column: str, ids: Iterable[str], matters: Collection[str]) -> None:
    for matter in ids:
        if matter not in matters:
            raise _wrong(path, line, column, f"没有细类 {matter!r}；应为 taxonomy.toml 中的 id")


def _wrong(path: Path, line: int, column: str, detail: str) -> DataError:
    return DataError(path, f"{column} 列：{detail}", line)
