"""Topics with the shipped models: a matter that is new last month surfaces, and drops out once it was studied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nlp.document import Analyser
from nlp.encoder import SentenceEncoder
from nlp.matching import load_pair_model
from nlp.screening import load_screen
from nlp.taxonomy import Taxonomy
from nlp.themes import load_theme_model
from service import render
from service.candidates import select
from service.engine import Engine, Models, load_router, store_batch
from service.settings import ROOT, Settings
from service.store import Store, Submission, Submitter
from service.topic_checks import check
from service.topic_views import overview
from service.topics import Topics
from service.works import Work

PLANTED = Path(__file__).parent / "planted.jsonl"
_A_MATTER = 3
_LONGEST = 110


def background() -> Iterator[Submission]:
    """Short texts of the corpus, three a matter, spread over a year and the month after it."""
    seen: dict[str, int] = {}
    number = 0
    for path in sorted((ROOT / "corpora" / "themes").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if len(row["text"]) > _LONGEST or seen.get(row["matter"], 0) == _A_MATTER:
                continue
            seen[row["matter"]] = seen.get(row["matter"], 0) + 1
            day = f"2025-{number % 12 + 1:02}-{number % 27 + 1:02}"
            person = Submitter(phone=f"139{number:08}")
            yield Submission("来信", f"B-{number}", row["text"], row.get("title", ""), f"{day}T09:00:00+08:00", "云岩区",
                             submitter=person)  # fmt: skip
            number += 1


def planted() -> Iterator[Submission]:
    """25 messages in 25 wordings about one new matter: last month, three districts."""
    for i, line in enumerate(PLANTED.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        yield Submission("留言", f"P-{i}", row["text"], row["title"], f"2025-12-{i + 4:02}T10:00:00+08:00", row["district"],
                         submitter=Submitter(phone=f"138{i:08}"))  # fmt: skip


@pytest.fixture(scope="module")
def topics(
    module_database_url: str, analyser: Analyser, encoder: SentenceEncoder, taxonomy: Taxonomy
) -> Iterator[Topics]:
    settings = Settings(database_url=module_database_url)
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id)
    pairs = load_pair_model(settings.pair_model, settings.corpora, encoder.encoder_id)
    screen = load_screen(settings.screening_model, settings.corpora, encoder.encoder_id)
    router = load_router(settings, taxonomy, encoder.encoder_id)
    engine = Engine(Models(analyser, encoder, themes, taxonomy, screen, pairs, router), 4)
    store = Store(settings.database_url, settings.office_id)
    everything = [*background(), *planted()]
    for start in range(0, len(everything), 32):
        engine.run(lambda start=start: store_batch(engine, store, everything[start : start + 32], render.answer, "t"))
    yield Topics(engine, store)
    engine.close()
    store.close()


def test_a_new_matter_is_the_first_rising_candidate_and_drops_out_once_studied(topics: Topics) -> None:
    found = select(topics)
    first = next(c for c in found.candidates if c.topic.trend.verdict == "rising")
    inside = [one for one in first.topic.external_ids if one.startswith("P-")]
    assert first is found.candidates[0]
    assert len(inside) >= 20
    assert len(inside) == first.topic.size
    assert "无人机" in first.topic.name
    assert set(first.topic.districts) == {"观山湖区", "南明区", "白云区"}
    assert "明显上升" in first.reason

    answer = check(topics, None, "城区配送无人机噪声与安全管理问题研究")
    assert answer.topics[0].topic.id == first.topic.id

    abstract = "外卖与快递无人机在居民区上空飞行，带来噪声、隐私和坠落风险，建议规定航线、时段和监管部门。"
    work = Work("research", "城区无人机配送扰民问题与对策研究", abstract, 2024, "已结题")
    unlike = Work("research", "老旧小区加装电梯的资金筹集研究", "调研加装电梯的出资比例与协商办法。", 2024, "已结题")
    list(topics.engine.run(lambda: list(topics.works.add(topics.engine, [work, unlike], "t"))))
    again = select(topics)
    assert first.topic.id not in {c.topic.id for c in again.candidates}
    [studied] = [c for c in again.studied if c.topic.id == first.topic.id]
    assert studied.studied[0].work == work
    assert check(topics, None, "无人机送外卖扰民怎么管").verdict.startswith("已有同类研究“城区无人机配送扰民")


def test_topics_of_the_corpus_hold_few_matters(topics: Topics) -> None:
    """Background texts are three a matter: what groups them should not mix everything."""
    view = overview(topics)
    assert max(t.size for t in view.topics if t.level == "concrete") <= 25
    assert max(t.size for t in view.topics) <= 0.3 * view.coverage.submissions
