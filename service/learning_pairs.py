"""Training and evaluation of the pair model from files: what ``train pairs`` and ``evaluate pairs`` do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlp.artefact import check_target
from nlp.contracts import Comparison
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import file_sha256
from nlp.errors import DataError
from nlp.evaluation import score_themes
from nlp.grading import RELATIONS
from nlp.matching import TASK, PairModel, load_pair_model
from nlp.pair_training import LabelledPair, Reader, count_background, load_pairs, save_pairs, train_pairs
from nlp.pii import mask
from nlp.report import render_report
from nlp.taxonomy import load_taxonomy
from nlp.themes import load_theme_model
from service.learning import Report, papers_of
from service.render import GRADES
from service.settings import Settings

_MOST_ERRORS = 30
# The least recall at which the precision of duplicates is stated.
RECALL = 0.85
NAMES = GRADES | {
    "place": "地点", "object": "对象", "polarity": "诉求方向", "number": "数字", "time": "时间",
    "template": "模板相同", "other_problem": "同地异事", "surface": "字面相似",
}  # fmt: skip


def train_pair_model(
    data: Sequence[Path], background: Sequence[Path], out: Path, settings: Settings, report: Report, command: str
) -> dict[str, Any]:
    """Train on pair files and write the model folder ``out``; returns the out-of-fold scores.

    ``background``: theme corpora that tell which wording is everybody's. Needs the theme model of this encoder, whose
    reading of matters is copied into the pair model.
    """
    check_target(out, TASK)
    pairs = load_pairs(data)
    encoder = load_encoder(settings.encoder)
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id).parameters
    strength = np.float32(themes.pool[0])
    analyser = Analyser(settings.corpora, settings.max_chars)
    texts = load_corpus(background)
    counted = count_background(analyser(item.text, item.title) for item in texts)
    trained = train_pairs(
        pairs, texts, Reader(analyser, encoder), counted,
        (themes.encoder_weights * strength, themes.encoder_bias * strength), settings.corpora, out.name, report,
    )  # fmt: skip
    papers = papers_of([*data, *background], pairs, command)
    save_pairs(trained, out, encoder_id=encoder.encoder_id, background=counted, papers=papers)
    return {"model": str(out), "pairs": len(pairs), "out_of_fold": trained.scores.as_dict()}


def evaluate_pair_model(file: Path, settings: Settings, report: Report) -> tuple[dict[str, Any], str]:
    """Scores of the configured pair model on a labelled file, and the report page."""
    pairs = load_pairs([file])
    if not pairs:
        raise DataError(file, "文件中没有成对材料")
    encoder = load_encoder(settings.encoder)
    model = load_pair_model(settings.pair_model, settings.corpora, encoder.encoder_id)
    answers = _compared(model, pairs, Reader(Analyser(settings.corpora, settings.max_chars), encoder), report)
    p = np.array([[a.duplicate, a.related, a.unrelated] for a, _ in answers])
    scores = score_themes(RELATIONS, p, [pair.relation for pair in pairs])
    grades = [a.relation for a, _ in answers]
    trapped = [g for g, pair in zip(grades, pairs, strict=True) if pair.trap and pair.relation == "related"]
    result = {
        "file": file.name,
        "file_sha256": file_sha256(file),
        "model": model.name,
        "encoder": encoder.encoder_id,
        "scores": scores.as_dict(),
        "duplicate_precision_at_recall": _precision_at_recall(p[:, 0], [x.relation == "duplicate" for x in pairs]),
        "traps_taken_for_duplicates": round(trapped.count("duplicate") / len(trapped), 4) if trapped else 0.0,
        "traps": _traps(pairs, [a for a, _ in answers]),
        "errors": _errors(pairs, answers, p),
    }
    right = np.array([g == pair.relation for g, pair in zip(grades, pairs, strict=True)])
    return json.loads(json.dumps(result)), render_report("pairs", result, NAMES, p.max(axis=1), right)


def _compared(
    model: PairModel, pairs: Sequence[LabelledPair], reader: Reader, report: Report
) -> list[tuple[Comparison, dict[str, str]]]:
    """The answer to each pair, and its texts by side with personal data starred out."""
    read = reader.read([text for pair in pairs for text in (pair.a, pair.b)], report)
    profiles = {text: model.profile(*both) for text, both in read.items()}
    answers = []
    for done, pair in enumerate(pairs, 1):
        shown = {"a": mask(pair.a), "b": mask(pair.b)}
        answers.append((model.compare(profiles[pair.a], profiles[pair.b], "compare"), shown))
        report("比较", done, len(pairs))
    return answers


def _precision_at_recall(score: NDArray[np.float64], positive: Sequence[bool]) -> float:
    """The best precision among thresholds that find at least RECALL of the positives."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(np.array(positive)[order])
    enough = np.flatnonzero(hits >= RECALL * hits[-1]) if hits[-1] else np.array([], dtype=int)
    return round(float(max(hits[k] / (k + 1) for k in enough)), 4) if len(enough) else 0.0


def _traps(pairs: Sequence[LabelledPair], answers: Sequence[Comparison]) -> list[dict[str, Any]]:
    """For each trap: how often the grade is right, is duplicate, and names the conflict where it is right."""
    rows = []
    for trap in dict.fromkeys(pair.trap for pair in pairs if pair.trap):
        of = [(pair, a) for pair, a in zip(pairs, answers, strict=True) if pair.trap == trap]
        related = [a for pair, a in of if a.relation == "related" and trap in pair.conflicts]
        rows.append(
            {
                "trap": trap,
                "n": len(of),
                "right": round(sum(a.relation == pair.relation for pair, a in of) / len(of), 4),
                "duplicate": round(sum(a.relation == "duplicate" for _, a in of) / len(of), 4),
                "named": round(sum(trap in {c.kind for c in a.conflicts} for a in related) / len(related), 4)
                if related
                else None,
            }
        )
    return rows


def _errors(
    pairs: Sequence[LabelledPair], answers: Sequence[tuple[Comparison, dict[str, str]]], p: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """The most confident wrong grades."""
    wrong = [
        (float(p[k].max()), pair, a, shown)
        for k, (pair, (a, shown)) in enumerate(zip(pairs, answers, strict=True))
        if a.relation != pair.relation
    ]
    wrong.sort(key=lambda item: -item[0])
    return [
        {
            "id": pair.id,
            "truth": pair.relation,
            "answer": a.relation,
            "confidence": round(confidence, 4),
            **shown,
            "conflicts": [
                {"kind": c.kind, "a": shown["a"][c.a.start : c.a.end], "b": shown["b"][c.b.start : c.b.end]}
                for c in a.conflicts
            ],
        }
        for confidence, pair, a, shown in wrong[:_MOST_ERRORS]
    ]
