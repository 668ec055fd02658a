"""领导点题: a topic named by a superior, held against what is stored, the topics found, and past research (查新)."""

from __future__ import annotations

from dataclasses import dataclass

from nlp.errors import InputError
from nlp.themes import search_terms
from nlp.topics import STUDIED
from service.engine import Analysed, Similar
from service.topic_views import Match, TopicView, best_works, overview, points, works_of
from service.topics import Topics

_SIMILAR = 10
_TOPICS = 3


@dataclass(frozen=True)
class Near:
    """A topic that the text is about; ``score``: mean similarity to its members."""

    topic: TopicView
    score: float


@dataclass(frozen=True)
class Check:
    """What there is about a text: topics, works, similar submissions, and one sentence that says so."""

    topics: tuple[Near, ...]
    studied: tuple[Match, ...]
    priorities: tuple[Match, ...]
    similar: tuple[Similar, ...]
    verdict: str


def check(topics: Topics, title: str | None, text: str) -> Check:
    """Look a topic up; raises InputError. Not on the encoder's thread."""
    view = overview(topics)
    engine, store = topics.engine, topics.store

    def look() -> tuple[Analysed, tuple[Similar, ...]]:
        [found] = engine.analyse([(title, text)])
        if isinstance(found, InputError):
            raise found
        return found, tuple(engine.similar(store, found.document, found.encoding, _SIMILAR))

    found, similar = engine.run(look)
    numbers, space = topics.space()
    point = space.points(found.encoding.vector[None], [search_terms(found.document)])
    place = {number: i for i, number in enumerate(numbers)}
    open_ones = [t for t in view.topics if t.level == "concrete" and t.state != "merged" and t.members]
    scores = space.near(point, [[place[n] for n in t.members if n in place] for t in open_ones])[0] if open_ones else []
    near = sorted((Near(t, float(s)) for t, s in zip(open_ones, scores, strict=True) if s >= STUDIED),
                  key=lambda n: (-n.score, n.topic.id))[:_TOPICS]  # fmt: skip
    works = {kind: works_of(topics, kind, view.as_of) for kind in ("research", "priority")}
    matched = {
        kind: tuple(best_works(own, space.similarities(points(space, own), point)[:, 0])) if own else ()
        for kind, own in works.items()
    }
    related = sum(s.comparison is not None and s.comparison.relation != "unrelated" for s in similar)
    verdict = _verdict(near, matched["research"], related, len(works["research"]))
    return Check(tuple(near), matched["research"], matched["priority"], similar, verdict)


def _verdict(near: list[Near], studied: tuple[Match, ...], related: int, research: int) -> str:
    if studied:
        work = studied[0].work
        novelty = (
            f"已有同类研究“{work.title}”（{work.year or '年份不详'}，{work.status or '状态不详'}），请先看能否深化"
        )
    else:
        novelty = f"在 {research} 项以往课题与提案中没有同类" if research else "未导入以往课题与提案，无从查新"
    if near:
        heard = f"已登记材料中属于议题“{near[0].topic.name}”，历来 {near[0].topic.voices} 人反映"
    else:
        heard = f"已登记材料中有 {related} 件相关，尚不成议题" if related else "已登记材料中没有相关的"
    return f"{novelty}；{heard}。"
