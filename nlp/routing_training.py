"""Fits the model of an office's own routing history, with grouped cross-validation of the whole procedure.

Everything on top of the two linear models — pool weights and threshold — is fitted on out-of-fold outputs, and folds
never part near-duplicates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from nlp.artefact import save_artefact
from nlp.corpus import Labelled, near_duplicate_groups
from nlp.evaluation import Estimate, bootstrap
from nlp.routing_model import REST, TASK, Array, HistoryModel, RoutingParameters, spread, table_opinion
from nlp.training import (
    ACCEPTED_RISK,
    FOLDS,
    SEED,
    Base,
    Features,
    Progress,
    TrainingError,
    fit_base,
    fit_pool,
    folds,
    risk_threshold,
)

# A unit with fewer texts that are no copies of each other is left to the table.
MIN_TEXTS = 5

Answers = Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class RoutingScores:
    """How well n rankings of leads agree with what people decided.

    top1, top3: the decided lead is first, among the first three; acceptable: the first is the decided or another
    defensible lead. coverage: the largest share, most certain first, whose error stays within ACCEPTED_RISK;
    acceptable_coverage: the same by the acceptable leads. All with 95 % intervals. threshold, accepted_share,
    accepted_error (neither decided nor acceptable): of the model itself, where it has a threshold.
    """

    n: int
    top1: Estimate
    acceptable: Estimate
    top3: Estimate
    coverage: Estimate
    acceptable_coverage: Estimate
    threshold: float | None = None
    accepted_share: float | None = None
    accepted_error: float | None = None


@dataclass(frozen=True)
class TrainedRouting:
    """A fitted model, its out-of-fold scores and rankings (in row order), and the units too rare to learn."""

    model: HistoryModel
    scores: RoutingScores
    answers: tuple[dict[str, float], ...]
    rare: dict[str, int]


def train_routing(
    items: Sequence[Labelled], features: Features, tables: Answers, name: str, progress: Progress
) -> TrainedRouting:
    """Fit on all items; ``label`` is a lead key, ``features.terms`` are search terms, tables: each text's table shares.

    Raises TrainingError where fewer than two units have MIN_TEXTS texts.
    """
    groups = near_duplicate_groups(items)
    labels, rare = _labels(items, groups)
    y = np.array([labels.index(item.label if item.label in labels else REST) for item in items])
    held_out = np.zeros((3, len(items), len(labels)))
    held_out[2] = np.stack([table_opinion(labels, table) for table in tables])
    parts = folds(y, groups, FOLDS)
    for number, (inner, outer) in enumerate(parts, 1):
        held_out[:2, outer] = fit_base(features.take(inner), y[inner], len(labels)).separate(features.take(outer))
        progress("交叉验证", number, len(parts))
    pool = fit_pool(held_out, np.zeros(len(labels)), y, np.ones(len(y)))
    probabilities = softmax(np.tensordot(pool, held_out, axes=1), axis=1)
    answers = tuple(spread(labels, p, table) for p, table in zip(probabilities, tables, strict=True))
    truth = [item.label for item in items]
    confidence, right = _first(answers, [{item.label, *item.acceptable} for item in items])
    threshold = risk_threshold(confidence, right, np.ones(len(y)))
    base = fit_base(features, y, len(labels))
    progress("拟合", 1, 1)
    model = HistoryModel(labels, base.vocabulary, _parameters(base, pool), threshold, name)
    scores = score_routing(answers, truth, [item.acceptable for item in items], threshold)
    return TrainedRouting(model, scores, answers, rare)


def save_routing(trained: TrainedRouting, target: Path, *, encoder_id: str, papers: dict[str, Any]) -> None:
    """Write the model folder."""
    model, p = trained.model, trained.model.parameters
    meta = {
        "task": TASK,
        "encoder_id": encoder_id,
        "labels": list(model.labels),
        "threshold": model.threshold,
        "accepted_risk": ACCEPTED_RISK,
        "rare": trained.rare,
        "scores": {"out_of_fold": as_figures(trained.scores), "folds": FOLDS, "seed": SEED},
        **papers,
    }
    weights: dict[str, NDArray[Any]] = {
        "encoder_weights": p.encoder_weights.astype(np.float16),
        "encoder_bias": p.encoder_bias,
        "term_weights": p.term_weights.astype(np.float16),
        "term_bias": p.term_bias,
        "idf": p.idf,
        "pool": p.pool,
    }
    save_artefact(target, meta, weights, model.vocabulary)


def score_routing(
    answers: Answers, truth: Sequence[str], acceptable: Sequence[Sequence[str]], threshold: float | None = None
) -> RoutingScores:
    """Score n rankings (lead key → probability, descending); one without any lead is wrong."""
    confidence, right = _first(answers, [{t} for t in truth])
    _, fine = _first(answers, [{t, *more} for t, more in zip(truth, acceptable, strict=True)])
    among = np.array([t in list(a)[:3] for a, t in zip(answers, truth, strict=True)])
    accepted = confidence >= threshold if threshold is not None else None
    n = len(answers)
    return RoutingScores(
        n,
        bootstrap(n, lambda rows: float(right[rows].mean())),
        bootstrap(n, lambda rows: float(fine[rows].mean())),
        bootstrap(n, lambda rows: float(among[rows].mean())),
        bootstrap(n, lambda rows: _coverage(confidence[rows], right[rows])),
        bootstrap(n, lambda rows: _coverage(confidence[rows], fine[rows])),
        threshold,
        float(accepted.mean()) if accepted is not None else None,
        float(1 - fine[accepted].mean()) if accepted is not None and accepted.any() else None,
    )


def as_figures(scores: RoutingScores) -> dict[str, Any]:
    """Plain data, figures rounded to four places."""

    def plain(value: Any) -> Any:
        if isinstance(value, Estimate):
            return {"value": round(value.value, 4), "low": round(value.low, 4), "high": round(value.high, 4)}
        return round(value, 4) if isinstance(value, float) else value

    return {name: plain(value) for name, value in vars(scores).items()}


def _labels(items: Sequence[Labelled], groups: Sequence[int]) -> tuple[list[str], dict[str, int]]:
    """(labels, REST last where needed; rare lead → its number of texts)."""
    distinct = Counter(label for label, _ in {(item.label, group) for item, group in zip(items, groups, strict=True)})
    labels = sorted(label for label, count in distinct.items() if count >= MIN_TEXTS)
    if len(labels) < 2:
        raise TrainingError(f"至少要有 2 个单位各有 {MIN_TEXTS} 条互不重复的材料，实有 {len(labels)} 个")
    counts = Counter(item.label for item in items)
    rare = {label: counts[label] for label in sorted(distinct, key=lambda k: (-counts[k], k)) if label not in labels}
    return ([*labels, REST] if rare else labels), rare


def _first(answers: Answers, wanted: Sequence[set[str]]) -> tuple[Array, NDArray[np.bool_]]:
    """float64 (n,) probability of the first lead, and whether it is among the wanted."""
    firsts = [next(iter(answer.items()), ("", 0.0)) for answer in answers]
    right = np.array([key in want and key != "" for (key, _), want in zip(firsts, wanted, strict=True)])
    return np.array([p for _, p in firsts]), right


def _coverage(confidence: Array, right: NDArray[np.bool_]) -> float:
    """The largest share of rows, most certain first, of which at most ACCEPTED_RISK are wrong."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
    within = np.flatnonzero(wrong <= ACCEPTED_RISK)
    return float((within[-1] + 1) / len(order)) if len(within) else 0.0


def _parameters(base: Base, pool: Array) -> RoutingParameters:
    return RoutingParameters(base.encoder.weights, base.encoder.bias, base.term_weights, base.term_bias, base.idf, pool)
