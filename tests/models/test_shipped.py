"""Quality floors of the shipped theme model, in both directions, and what its papers must say.

A floor lies below the recorded score by the noise of the set; a score that beats the record by more than that noise
fails too, so that the record is raised and cannot go stale.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlp.corpus import Labelled, load_corpus
from nlp.document import Analyser
from nlp.encoder import SentenceEncoder
from nlp.evaluation import score_themes
from nlp.grading import RELATIONS
from nlp.matching import load_pair_model
from nlp.pair_training import Reader, load_pairs
from nlp.screening import FLAGS, load_screen
from nlp.screening_training import load_cases, read, score_screen
from nlp.taxonomy import Taxonomy
from nlp.themes import ThemeModel, load_theme_model
from service.engine import Analysed, Engine, Models, load_router
from service.settings import ROOT, Settings

FLOORS = json.loads((ROOT / "tests" / "floors.json").read_text(encoding="utf-8"))
HELD_OUT = sorted((ROOT / "corpora" / "heldout").glob("*.jsonl"))


@pytest.fixture(scope="module")
def shipped(taxonomy: Taxonomy, encoder: SentenceEncoder) -> ThemeModel:
    return load_theme_model(Settings().theme_model, taxonomy, encoder.encoder_id)


@pytest.fixture(scope="module")
def engine(shipped: ThemeModel, analyser: Analyser, encoder: SentenceEncoder, taxonomy: Taxonomy) -> Any:
    screen = load_screen(Settings().screening_model, ROOT / "corpora", encoder.encoder_id)
    pairs = load_pair_model(Settings().pair_model, ROOT / "corpora", encoder.encoder_id)
    router = load_router(Settings(), taxonomy, encoder.encoder_id)
    opened = Engine(Models(analyser, encoder, shipped, taxonomy, screen, pairs, router), 1)
    yield opened
    opened.close()


def _answers(engine: Engine, items: list[Labelled]) -> list[Analysed]:
    answers = engine.analyse([(item.title, item.text) for item in items])
    assert all(isinstance(answer, Analysed) for answer in answers)
    return answers  # type: ignore[return-value]


@pytest.fixture(scope="module")
def held_out_answers(engine: Engine) -> tuple[list[Labelled], list[Analysed]]:
    items = load_corpus(HELD_OUT, "primary")
    return items, _answers(engine, items)


def _check(name: str, items: list[Labelled], answers: list[Analysed], themes: tuple[str, ...]) -> None:
    probabilities = np.zeros((len(items), len(themes)))
    for row, answer in enumerate(answers):
        for score in answer.classification.themes:
            probabilities[row, themes.index(score.theme)] = score.probability
    _hold(name, score_themes(themes, probabilities, [i.label for i in items], [i.acceptable for i in items]).as_dict())


def _hold(name: str, scores: dict[str, Any]) -> None:
    """Compare scores with the recorded ones, in both directions."""
    floors = [f for f in FLOORS["floors"] if f["corpus"] == name]
    assert {f["metric"] for f in floors} >= {"macro_f1", "accuracy", "ece"}
    for floor in floors:
        value = scores[floor["metric"]]["value"]
        assert scores["n"] == floor["n"]
        better = -1 if floor["metric"] == "ece" else 1
        assert better * value >= better * floor["floor"], f"{floor}: {value}"
        assert better * (value - floor["recorded"]) <= floor["noise"], f"{floor}: {value}: raise the record"


def test_held_out_floors(shipped: ThemeModel, held_out_answers: tuple[list[Labelled], list[Analysed]]) -> None:
    _check("heldout", *held_out_answers, shipped.themes)


def test_real_message_floors(shipped: ThemeModel, engine: Engine, real_data: Path) -> None:
    items = load_corpus([real_data / "dev.jsonl"], "primary")
    _check("dev", items, _answers(engine, items), shipped.themes)


def test_pair_floors(analyser: Analyser, encoder: SentenceEncoder) -> None:
    pairs = load_pairs(sorted((ROOT / "corpora" / "pairs" / "heldout").glob("*.jsonl")))
    model = load_pair_model(Settings().pair_model, ROOT / "corpora", encoder.encoder_id)
    read = Reader(analyser, encoder).read([t for p in pairs for t in (p.a, p.b)], lambda *_: None)
    answers = [model.compare(model.profile(*read[p.a]), model.profile(*read[p.b]), "compare") for p in pairs]
    probabilities = np.array([[a.duplicate, a.related, a.unrelated] for a in answers])
    _hold("pairs", score_themes(RELATIONS, probabilities, [p.relation for p in pairs]).as_dict())


def test_letters_written_apart_are_seldom_found_duplicates(
    engine: Engine, held_out_answers: tuple[list[Labelled], list[Analysed]]
) -> None:
    """Each held-out letter against the two nearest of the others; a sentence less leaves it a duplicate of itself."""
    items, answers = held_out_answers
    model = engine.models.pairs
    profiles = [model.profile(answer.document, answer.encoding) for answer in answers]
    vectors = np.stack([answer.encoding.vector for answer in answers])
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    near = {(min(i, j), max(i, j)) for i, row in enumerate(likeness) for j in np.argsort(-row)[:2].tolist()}
    apart = [(profiles[i], profiles[j]) for i, j in sorted(near) if items[i].group != items[j].group]
    assert len(apart) > 300
    assert (model.probabilities(apart, "search").argmax(axis=1) == 0).mean() <= 0.02
    long = [i for i, answer in enumerate(answers) if len(answer.document.sentences) > 3][:40]
    cut = []
    for i in long:
        document = answers[i].document
        text = document.normalised.text
        cut.append("".join(text[a:b] for a, b in document.sentences[:-1]))
    read = engine.read([("", text) for text in cut])
    shortened = [(profiles[i], model.profile(*both)) for i, both in zip(long, read, strict=True)]
    assert (model.probabilities(shortened, "search").argmax(axis=1) == 0).mean() >= 0.95


def test_screening_floors(analyser: Analyser, encoder: SentenceEncoder) -> None:
    """Each share lies in the 95 % interval of the recorded one: below is worse, above makes the record stale."""
    cases = load_cases(sorted((ROOT / "corpora" / "screening" / "cases").glob("*-test.jsonl")))
    screen = load_screen(Settings().screening_model, ROOT / "corpora", encoder.encoder_id)
    answers = [screen(*one) for one in read([case.text for case in cases], analyser, encoder, lambda *_: None)]
    scores = score_screen(cases, answers)
    recorded = json.loads((ROOT / "bench" / "results" / "screening.json").read_text(encoding="utf-8"))["scores"]
    for path in (("urgency", "precision"), ("urgency", "recall"), ("kinds", "accuracy"),
                 *(("flags", "by_flag", flag, side) for flag in FLAGS for side in ("precision", "recall"))):  # fmt: skip
        value, record = scores, recorded
        for key in path:
            value, record = value[key], record[key]
        assert record["low"] <= value["value"] <= record["high"], f"{path}: {value} against {record}"
    assert scores["urgency"]["recall"]["value"] >= 0.95


@pytest.mark.parametrize(
    ("text", "urgent"),
    [
        ("没有漏水，也没有火灾", False),
        ("一旦发生火灾，后果不堪设想", False),
        ("去年这里发生过火灾", False),
        ("以前这条河淹死过人。建议装护栏。", False),
        ("去年着过一次，今天又着火了", True),
        ("前年这栋楼着过火。楼上正在冒黑烟，快来人！", True),
        ("建议加强火灾应急演练", False),
        pytest.param("路灯坏了", False, marks=pytest.mark.xfail(reason="a bare short sentence still alarms")),
        ("楼上正在冒黑烟，快来人！", True),
        ("工厂转移原料时发生泄漏，化学品泄漏到路上", True),
        ("再不发工资，我们几百人明天就去堵路", True),
    ],
)
def test_urgency_knows_denial_supposition_past_and_threat(
    analyser: Analyser, encoder: SentenceEncoder, text: str, urgent: bool
) -> None:
    screen = load_screen(Settings().screening_model, ROOT / "corpora", encoder.encoder_id)
    [one] = read([text], analyser, encoder, lambda *_: None)
    assert (screen(*one).urgent is not None) is urgent


def test_screening_papers() -> None:
    meta = json.loads((Settings().screening_model / "meta.json").read_text(encoding="utf-8"))
    files = json.loads((ROOT / "corpora" / "screening" / "meta.json").read_text(encoding="utf-8"))["files"]
    themes = json.loads((ROOT / "corpora" / "themes" / "meta.json").read_text(encoding="utf-8"))["files"]
    dev = {name: digest for name, digest in files.items() if name.endswith("-dev.jsonl")}
    assert meta["corpus"] == dev | themes, "the model was trained on other cases: run make train"
    assert meta["command"].startswith("minsheng train screening")


def test_pair_papers() -> None:
    meta = json.loads((Settings().pair_model / "meta.json").read_text(encoding="utf-8"))
    corpora = ROOT / "corpora"
    files = json.loads((corpora / "pairs" / "meta.json").read_text(encoding="utf-8"))["train"]["files"]
    themes = json.loads((corpora / "themes" / "meta.json").read_text(encoding="utf-8"))["files"]
    assert meta["corpus"] == files | themes, "the model was trained on other corpora: run make train"
    assert meta["command"].startswith("minsheng train pairs")
    assert not set(files) & {p.name for p in (corpora / "pairs" / "heldout").glob("*.jsonl")}


def test_papers(shipped: ThemeModel, taxonomy: Taxonomy) -> None:
    meta = json.loads((Settings().theme_model / "meta.json").read_text(encoding="utf-8"))
    files = json.loads((ROOT / "corpora" / "themes" / "meta.json").read_text(encoding="utf-8"))["files"]
    assert meta["corpus"] == files, "the model was trained on another corpus: run make train"
    assert meta["labels"] == [m.id for m in taxonomy.matters]
    assert meta["command"].startswith("minsheng train themes")
    assert {s["label"] for s in meta["scores"]["out_of_fold"]["per_label"]} == set(taxonomy.theme_by_id)
    assert shipped.parameters.accept_threshold < 1


def test_evidence_holds_when_its_text_is_removed(
    engine: Engine, held_out_answers: tuple[list[Labelled], list[Analysed]]
) -> None:
    """Removing the top span lowers the theme's probability more than removing a random span of equal length."""
    rng = random.Random(3)
    items, answers = held_out_answers
    cases = []
    for item, answer in zip(items, answers, strict=True):
        evidence = next((e for e in answer.classification.evidence if e.field == "text"), None)
        if evidence is None or len(item.text) < 3 * len(evidence.text):
            continue
        starts = [s for s in range(len(item.text) - len(evidence.text))
                  if s + len(evidence.text) <= evidence.start or s >= evidence.end]  # fmt: skip
        start = rng.choice(starts)
        without = item.text[: evidence.start] + item.text[evidence.end :]
        at_random = item.text[:start] + item.text[start + len(evidence.text) :]
        cases.append((item.title, without, at_random, answer.classification.primary))
    cases = rng.sample(cases, 120)
    removed = _answers(engine, [Labelled("", title, text, "") for title, text, _, _ in cases])
    random_removed = _answers(engine, [Labelled("", title, text, "") for title, _, text, _ in cases])

    def left(answer: Analysed, theme: str) -> float:
        return next(t.probability for t in answer.classification.themes if t.theme == theme)

    wins = [left(a, c[3]) < left(b, c[3]) for a, b, c in zip(removed, random_removed, cases, strict=True)]
    assert np.mean(wins) >= FLOORS["evidence"]["floor"]
