"""Candidates for study (选题): topics scored by parts that can be read one by one, with the submissions behind them.

A part that nothing is known of counts neither for nor against (its weight is left out), and the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

from service.steps import Standing
from service.topic_views import Match, TopicView, matches, overview, works_of
from service.topics import Topics

PartName = Literal["volume", "rise", "breadth", "unresolved", "dissatisfied", "unadopted", "priority", "novelty"]
# The words officials read, and how much each part weighs. Conventions, written down in docs/decisions.md.
PARTS: Mapping[PartName, tuple[str, float]] = {
    "volume": ("反映人数", 0.20),
    "rise": ("上升", 0.25),
    "breadth": ("涉及区县", 0.10),
    "unresolved": ("未办结", 0.10),
    "dissatisfied": ("不满意", 0.05),
    "unadopted": ("未采用", 0.05),
    "priority": ("契合重点任务", 0.10),
    "novelty": ("此前少有研究", 0.15),
}
_CLOSED = frozenset({"已办结", "已回访", "已归档"})
_UNTOUCHED = "待审核"
_MIN_KNOWN = 3
# A topic that fewer distinct submitters raised lately is no ground for a study.
MIN_VOICES = 3
# Themes with fewer submissions than this share of an even spread are thin.
THIN = 0.25
_FULL_RATIO = 8.0


@dataclass(frozen=True)
class Part:
    """One part of a score: ``value`` in [0, 1], None where nothing is known; ``note`` says what it stands on."""

    name: PartName
    label: str
    weight: float
    value: float | None
    note: str


@dataclass(frozen=True)
class Candidate:
    """A topic put forward: ``score`` in [0, 1] is the weighted mean of the known parts."""

    topic: TopicView
    score: float
    parts: tuple[Part, ...]
    reason: str
    studied: tuple[Match, ...]
    priorities: tuple[Match, ...]


@dataclass(frozen=True)
class Gap:
    """A theme that little was heard about: ``count`` submissions where an even spread would give ``expected``."""

    theme: str
    count: int
    expected: float
    note: str


@dataclass(frozen=True)
class Selection:
    """Candidates by score; topics that were studied before; thin themes; what is missing."""

    as_of: str | None
    candidates: tuple[Candidate, ...]
    studied: tuple[Candidate, ...]
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]


def select(topics: Topics, as_of: str | None = None, limit: int = 10) -> Selection:
    """Score every topic that is neither dismissed nor too small."""
    found = overview(topics, as_of)
    views = [t for t in found.topics if t.level == "concrete" and t.state == "open" and t.lately >= MIN_VOICES]
    research = matches(topics, views, "research")
    tasks = matches(topics, views, "priority", found.as_of)
    known = topics.standings([number for view in views for number in view.members])
    if all(standing.state == _UNTOUCHED for standing in known.values()):
        known = {}  # an office that records no handling: nothing is known, not everything unresolved
    largest = max((view.lately for view in views), default=0)
    widest = max((len(view.districts) for view in views), default=0)
    works = {"research": len(works_of(topics, "research")), "priority": len(works_of(topics, "priority", found.as_of))}
    scored = [_candidate(v, largest, widest, known, research[v.id], tasks[v.id], works) for v in views]
    scored.sort(key=lambda c: (not c.topic.pinned, -c.score, c.topic.id))
    fresh = [c for c in scored if not c.studied or c.topic.pinned]
    old = [c for c in scored if c.studied and not c.topic.pinned]
    return Selection(found.as_of, tuple(fresh[:limit]), tuple(old), gaps(found.themes), tuple(found.notes))


def _candidate(
    view: TopicView, largest: int, widest: int, known: Mapping[int, Standing], studied: Sequence[Match],
    priorities: Sequence[Match], works: Mapping[str, int],
) -> Candidate:  # fmt: skip
    here = {number: known[number] for number in view.members if number in known}
    values: dict[PartName, tuple[float | None, str]] = {
        "volume": (log(1 + view.lately) / log(1 + largest), f"近 13 个月反映人 {view.lately} 人，历来 {view.size} 件"),
        "rise": _rise(view),
        "breadth": (len(view.districts) / widest, _spread(view)) if sum(view.districts.values()) >= _MIN_KNOWN
        else (None, "没有足够的区县"),
        "unresolved": _share(here, lambda s: s.state not in _CLOSED, "未办结"),
        "dissatisfied": _share({n: s for n, s in here.items() if s.satisfaction}, _poor, "不满意"),
        "unadopted": _share({n: s for n, s in here.items() if s.state in _CLOSED}, _unadopted, "未采用"),
        "priority": _priority(priorities, works.get("priority", 0)),
        "novelty": _novelty(studied, works.get("research", 0)),
    }  # fmt: skip
    parts = tuple(Part(name, *PARTS[name], *values[name]) for name in PARTS)
    weight = sum(part.weight for part in parts if part.value is not None)
    score = sum(part.weight * part.value for part in parts if part.value is not None) / weight
    return Candidate(view, score, parts, _reason(view, parts, studied, priorities), tuple(studied), tuple(priorities))


def _spread(view: TopicView) -> str:
    told = f"（{view.by_text} 件由正文识别）" if view.by_text else ""
    return f"涉及 {len(view.districts)} 个区县{told}"


def _rise(view: TopicView) -> tuple[float | None, str]:
    trend = view.trend
    if trend.ratio is None or trend.q is None:
        return 0.0, "样本不足，看不出升降，不加分"
    counted = f"近 {view.window_days} 天 {view.recent} 人，此前一年 {view.before} 人"
    if trend.verdict == "rising":
        value = 0.5 + 0.5 * min(1.0, log(trend.ratio) / log(_FULL_RATIO))
        times = f"占比为此前的 {trend.ratio:.1f} 倍" if view.before else "从无到有"
        return value, f"{counted}，{times}，超出偶然（q{'<0.001' if trend.q < 0.001 else f'={trend.q:.3f}'}）"
    return 0.0, f"{counted}，{'下降' if trend.verdict == 'falling' else '升降未超出偶然'}，不加分"


def _share(known: Mapping[int, Standing], wanted: Callable[[Standing], bool], what: str) -> tuple[float | None, str]:
    if len(known) < _MIN_KNOWN:
        return None, "没有足够的办理记录"
    count = sum(map(wanted, known.values()))
    return count / len(known), f"有记录的 {len(known)} 件中 {count} 件{what}"


def _unadopted(standing: Standing) -> bool:
    return not standing.adoption or "未" in standing.adoption


def _poor(standing: Standing) -> bool:
    return any(word in (standing.satisfaction or "") for word in ("不满意", "不太满意", "差"))


def _priority(found: Sequence[Match], tasks: int) -> tuple[float | None, str]:
    if not tasks:
        return None, "未导入当年重点任务"
    if not found:
        return 0.0, "与当年重点任务没有直接对应"
    return found[0].score, f"对应重点任务“{found[0].work.title[:40]}”"


def _novelty(found: Sequence[Match], research: int) -> tuple[float | None, str]:
    if not research:
        return None, "未导入以往课题与提案，无从查新"
    if not found:
        return 1.0, f"在 {research} 项以往课题与提案中没有找到同类"
    work = found[0].work
    return 0.0, f"已有“{work.title[:40]}”（{work.year or '年份不详'}，{work.status or '状态不详'}）"


def _reason(view: TopicView, parts: Sequence[Part], studied: Sequence[Match], priorities: Sequence[Match]) -> str:
    """One sentence a superior can read."""
    noted = {part.name: part for part in parts}
    said = [f"“{view.name}”近 13 个月有 {view.lately} 人反映"]
    if view.trend.verdict == "rising":
        said.append(f"近 {view.window_days} 天明显上升（{view.recent} 人）")
    elif view.trend.verdict == "too_few":
        said.append("样本不足，看不出升降")
    if noted["breadth"].value is not None:
        said.append(f"涉及{'、'.join(list(view.districts)[:3])}{'等' if len(view.districts) > 3 else ''}")
    if (noted["unresolved"].value or 0) >= 0.5:
        said.append(noted["unresolved"].note)
    if priorities:
        said.append(noted["priority"].note)
    if noted["novelty"].value is None:
        said.append("尚未查新")
    else:
        said.append(noted["novelty"].note if studied else "以往课题与提案中没有同类")
    return "，".join(said) + "。"


def gaps(themes: Mapping[str, int]) -> tuple[Gap, ...]:
    """Themes of which little was heard, thinnest first."""
    total = sum(themes.values())
    if not total or len(themes) < 2:
        return ()
    expected = total / len(themes)
    found = [
        Gap(
            name,
            count,
            expected,
            f"{name}只有 {count} 件，平均每个主题 {expected:.0f} 件：是没有问题，还是没有人反映？",
        )
        for name, count in themes.items()
        if count < THIN * expected
    ]
    return tuple(sorted(found, key=lambda gap: (gap.count, gap.theme)))
