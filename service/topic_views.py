"""What topics look like as of a day: sizes, distinct submitters, trends, districts, representatives, and past work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import sqlalchemy as sa

from nlp.contracts import FloatArray
from nlp.taxonomy import OTHER
from nlp.topics import STUDIED, Points, Space, diverse
from nlp.trends import Counts, Trend, trends
from service.dates import CHINA
from service.statistics import UNKNOWN, Fact, distinct, facts, read_moment
from service.store import Store
from service.tables import submissions
from service.topics import Level, State, TopicRow, Topics, final
from service.voices import voice_of
from service.works import Kind, StoredWork, Work

WINDOW_DAYS = 30
BASELINE_DAYS = 365
MONTHS = 12
_REPRESENTATIVES = 3


@dataclass(frozen=True)
class TopicView:
    """A topic as of a day.

    ``size``: submissions; ``distinct``: a case counts once, follow-ups not at all; ``voices``: distinct submitters;
    ``recent`` and ``before``: voices in the last ``window_days`` and in the year before them; ``months``: voices a
    month, oldest first; ``districts``: by frequency, the unknown left out; ``by_text``: of how many only their
    text tells; ``members``: numbers, ascending.
    """

    id: int
    level: Level
    name: str
    machine_name: str
    parent: int | None
    state: State
    merged_into: int | None
    pinned: bool
    size: int
    distinct: int
    voices: int
    recent: int
    before: int
    window_days: int
    trend: Trend
    months: tuple[tuple[str, int], ...]
    districts: Mapping[str, int]
    by_text: int
    themes: Mapping[str, int]
    members: tuple[int, ...]
    external_ids: tuple[str, ...]
    representatives: tuple[int, ...]

    @property
    def lately(self) -> int:
        """Voices of the last window and the year before it."""
        return self.recent + self.before


@dataclass(frozen=True)
class Coverage:
    """How many submissions there are, in a concrete topic, in a broad one at least, and in none (零散)."""

    submissions: int
    concrete: int
    broad: int
    scattered: int


@dataclass(frozen=True)
class TopicsView:
    """All topics as of a day (None: nothing has a date), by rise and size; ``themes``: submissions by theme name."""

    as_of: str | None
    coverage: Coverage
    topics: tuple[TopicView, ...]
    themes: Mapping[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """A work that is about the same as a topic or text; ``score``: fused similarity in [0, 1]."""

    work: Work
    number: int
    score: float


def overview(topics: Topics, as_of: str | None = None) -> TopicsView:
    """All topics as of a day (default: the last day of receipt that has come); raises InputError.

    Groups what is new first. Undated submissions count only where no day was asked for.
    """
    topics.refresh()
    present = read_moment(None)
    today = present.astimezone(CHINA).date()
    everything = facts(topics.store, present)
    asked = None if as_of is None else read_moment(as_of).astimezone(CHINA).date()
    day = asked or max((f.day for f in everything if f.day is not None and f.day <= today), default=None)
    inside = [f for f in everything if (asked is None if f.day is None else day is not None and f.day <= day)]
    rows, groups = topics.rows(), topics.groups()
    concrete = sum(any(rows[topic].level == "concrete" for topic in groups.get(f.id, ())) for f in inside)
    grouped = sum(bool(groups.get(f.id)) for f in inside)
    themes = Counter(f.theme for f in inside)
    taxonomy = topics.engine.models.taxonomy
    return TopicsView(
        day.isoformat() if day else None,
        Coverage(len(inside), concrete, grouped, len(inside) - grouped),
        tuple(_views(topics, rows, groups, inside, day)),
        {theme.name: themes[theme.id] for theme in taxonomy.themes if theme.id != OTHER},
        tuple(_notes(everything, inside, day, today)),
    )


def _views(
    topics: Topics, rows: Mapping[int, TopicRow], groups: Mapping[int, tuple[int, ...]], inside: Sequence[Fact],
    day: date | None,
) -> list[TopicView]:  # fmt: skip
    members: dict[int, list[Fact]] = {number: [] for number in rows}
    for fact in inside:
        for topic in groups.get(fact.id, ()):
            members[topic].append(fact)
    windows = _windows(day)
    shown = [row for row in rows.values() if members[row.id] or row.state != "open"]
    counts = {row.id: _counts(members[row.id], windows) for row in shown}
    total = _counts(inside, windows)
    found: dict[int, Trend] = {}
    for level in ("concrete", "broad"):  # tested apart: a broad topic rises with its concrete ones
        asked = [row.id for row in shown if row.level == level]
        found |= zip(asked, trends([counts[number] for number in asked], total), strict=True)
    identities = _external_ids(topics.store)
    numbers, space = topics.space()
    place = {number: i for i, number in enumerate(numbers)}
    views = []
    for row in shown:
        central = _central([f.id for f in members[row.id]], place, space)
        views.append(_view(row, rows, members[row.id], counts[row.id], found[row.id], day, identities, central))
    return sorted(views, key=_order)


def _order(view: TopicView) -> tuple[bool, bool, int, float, int, int]:
    """Open ones first, then pinned, then rising by how much, then by size; the falling last."""
    rising, falling = view.trend.verdict == "rising", view.trend.verdict == "falling"
    steep = -(view.trend.ratio or 0.0) if rising else 0.0
    return view.state != "open", not view.pinned, 0 if rising else 2 if falling else 1, steep, -view.voices, view.id


def _external_ids(store: Store) -> dict[int, str]:
    query = sa.select(submissions.c.id, submissions.c.external_id).where(store.present())
    with store.reading() as connection:
        return {row.id: row.external_id for row in connection.execute(query)}


def matches(topics: Topics, views: Sequence[TopicView], kind: Kind, as_of: str | None = None) -> dict[int, list[Match]]:
    """Topic → the works that are about the same, best first; tasks only of the year of ``as_of`` or of none."""
    works = works_of(topics, kind, as_of)
    numbers, space = topics.space()
    place = {number: i for i, number in enumerate(numbers)}
    if not works or not views:
        return {view.id: [] for view in views}
    groups = [[place[n] for n in view.members if n in place] for view in views]
    scores = space.near(points(space, works), groups)
    return {view.id: best_works(works, scores[:, i]) for i, view in enumerate(views)}


def works_of(topics: Topics, kind: Kind, as_of: str | None = None) -> list[StoredWork]:
    """The works of a kind that can be compared; tasks only of the year of ``as_of`` or of none."""
    works = topics.works.all(kind, topics.encoder_id)
    if kind == "priority" and as_of is not None:
        return [work for work in works if work.work.year in {None, int(as_of[:4])}]
    return works


def points(space: Space, works: Sequence[StoredWork]) -> Points:
    """Works as points of the space of the submissions."""
    return space.points(np.stack([work.vector for work in works]), [work.words for work in works])


def best_works(works: Sequence[StoredWork], scores: FloatArray, limit: int = 3) -> list[Match]:
    """The works of which ``scores`` (n,) says that they are about the same, best first."""
    order = np.argsort(-scores, kind="stable")[:limit]
    return [Match(works[i].work, works[i].id, min(1.0, float(scores[i]))) for i in order if scores[i] >= STUDIED]


def _windows(day: date | None) -> tuple[date, date, date]:
    """First day of the window, first day of the time before, and the last day."""
    last = day or date(1, 1, 1) + timedelta(days=WINDOW_DAYS + BASELINE_DAYS)
    first = last - timedelta(days=WINDOW_DAYS - 1)
    return first, first - timedelta(days=BASELINE_DAYS), last


def _voice(fact: Fact) -> object:
    return voice_of(fact.submitter) or fact.id


def _counts(items: Sequence[Fact], windows: tuple[date, date, date]) -> Counts:
    """Distinct submitters in the last window and before it; follow-ups are no new voices."""
    first, begin, last = windows
    own = [(f.day, _voice(f)) for f in items if f.follows is None and f.day is not None]
    recent = {voice for day, voice in own if first <= day <= last}
    return Counts(len(recent), len({voice for day, voice in own if begin <= day < first}))


def _months(items: Sequence[Fact], day: date | None) -> tuple[tuple[str, int], ...]:
    """Distinct submitters in each of the last twelve 30-day windows up to ``day``, by the window's last day."""
    if day is None:
        return ()
    found = []
    for back in range(MONTHS - 1, -1, -1):
        last = day - timedelta(days=WINDOW_DAYS * back)
        counts = _counts(items, (last - timedelta(days=WINDOW_DAYS - 1), last, last))
        found.append((last.isoformat(), counts.recent))
    return tuple(found)


def _central(members: Sequence[int], place: Mapping[int, int], space: Space) -> tuple[int, ...]:
    known = [number for number in members if number in place]
    return tuple(known[i] for i in diverse(space, [place[n] for n in known], _REPRESENTATIVES))


def _view(
    row: TopicRow, rows: Mapping[int, TopicRow], items: Sequence[Fact], counts: Counts, trend: Trend, day: date | None,
    identities: Mapping[int, str], central: tuple[int, ...],
) -> TopicView:  # fmt: skip
    own = [f for f in items if f.follows is None]
    districts = Counter(f.district for f in items if f.district != UNKNOWN)
    members = tuple(sorted(f.id for f in items))
    return TopicView(
        row.id, row.level, row.given_name or row.name, row.name,
        final(rows, row.parent) if row.parent is not None else None, row.state, row.merged_into, row.pinned,
        len(items), distinct(items), len({_voice(f) for f in own}), counts.recent, counts.before, WINDOW_DAYS, trend,
        _months(items, day), dict(sorted(districts.items(), key=lambda d: (-d[1], d[0]))),
        sum(f.by_text for f in items), dict(Counter(f.theme for f in items).most_common()), members,
        tuple(identities[n] for n in members), central,
    )  # fmt: skip


def _notes(everything: Sequence[Fact], inside: Sequence[Fact], day: date | None, today: date) -> list[str]:
    undated = sum(f.day is None for f in everything)
    future = sum(f.day is not None and f.day > today for f in everything)
    notes = []
    if not everything:
        notes.append("还没有登记任何材料，登记或导入后再看议题。")
    elif not inside:
        notes.append(f"截至 {day} 没有材料。")
    elif len(inside) < 3:
        notes.append(f"只有 {len(inside)} 件材料，不足以形成议题。")
    if undated:
        notes.append(f"{undated} 件没有收到日期，不计入升降。")
    if future:
        notes.append(f"{future} 件的收到日期晚于今天，不计入升降，请核对。")
    return notes
