"""Scores of a theme model on labelled texts, with intervals.

Intervals are percentile bootstrap over texts (Efron 1979), 95 %; of yes/no answers, Wilson (1927). Expected calibration
error uses ten bins of equal mass (Nguyen & O'Connor 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import f1_score, precision_recall_fscore_support

_RESAMPLES = 1000
_SEED = 7
_BINS = 10
# Macro-F1 counts only labels with enough examples to mean something.
MIN_SUPPORT = 10
COVERAGE = 0.8

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelScore:
    """Precision, recall, F1 and number of texts of one label."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """Strict: answer equals the label. Acceptable: or is another defensible answer. ``matter_accuracy`` where known."""

    n: int
    accuracy: Estimate
    acceptable: Estimate
    macro_f1: Estimate
    macro_f1_labels: int
    acceptable_at_coverage: Estimate
    ece: Estimate
    threshold: float | None
    accepted_share: float | None
    accepted_error: float | None
    per_label: tuple[LabelScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    matter_accuracy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, figures rounded to four places."""

        def rounded(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: rounded(inner) for key, inner in value.items()}
            if isinstance(value, list | tuple):
                return [rounded(inner) for inner in value]
            return round(value, 4) if isinstance(value, float) else value

        plain: dict[str, Any] = rounded(asdict(self))
        return plain


def score_themes(
    labels: Sequence[str],
    probabilities: Array,
    truth: Sequence[str],
    acceptable: Sequence[Sequence[str]] | None = None,
    threshold: float | None = None,
) -> Scores:
    """Score n answers.

    probabilities float64 (n, len(labels)), rows sum to 1; truth: n labels; threshold: the model's own.
    """
    names = list(labels)
    y = np.array([names.index(t) for t in truth])
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    allowed = [{t, *more} for t, more in zip(truth, acceptable or [()] * len(truth), strict=True)]
    right = predicted == y
    fine = np.array([names[p] in a for p, a in zip(predicted, allowed, strict=True)])
    frequent = [k for k in range(len(names)) if (y == k).sum() >= MIN_SUPPORT] or sorted(set(y.tolist()))
    accepted = confidence >= threshold if threshold is not None else None

    def macro(rows: NDArray[np.int64]) -> float:
        return float(f1_score(y[rows], predicted[rows], labels=frequent, average="macro", zero_division=0))

    def covered(rows: NDArray[np.int64]) -> float:
        kept = rows[np.argsort(-confidence[rows], kind="stable")][: max(1, round(COVERAGE * len(rows)))]
        return float(fine[kept].mean())

    confusion = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(confusion, (y, predicted), 1)
    return Scores(
        n=len(y),
        accuracy=bootstrap(len(y), lambda rows: float(right[rows].mean())),
        acceptable=bootstrap(len(y), lambda rows: float(fine[rows].mean())),
        macro_f1=bootstrap(len(y), macro),
        macro_f1_labels=len(frequent),
        acceptable_at_coverage=bootstrap(len(y), covered),
        ece=bootstrap(len(y), lambda rows: calibration_error(confidence[rows], right[rows])),
        threshold=threshold,
        accepted_share=float(accepted.mean()) if accepted is not None else None,
        accepted_error=float(1 - fine[accepted].mean()) if accepted is not None and accepted.any() else None,
        per_label=label_scores(names, truth, [names[k] for k in predicted]),
        confusion=tuple(tuple(int(c) for c in row) for row in confusion),
    )


def label_scores(labels: Sequence[str], truth: Sequence[str], predicted: Sequence[str]) -> tuple[LabelScore, ...]:
    """Precision, recall, F1 (0 where undefined) and support of each label, in the order given."""
    columns = precision_recall_fscore_support(truth, predicted, labels=list(labels), zero_division=0)
    return tuple(
        LabelScore(n, float(p), float(r), float(f), int(s)) for n, p, r, f, s in zip(labels, *columns, strict=True)
    )


def detection(truth: Sequence[bool], found: Sequence[bool]) -> tuple[Estimate, Estimate]:
    """Precision and recall of n yes/no answers, each with its 95 % Wilson interval (Wilson 1927)."""
    right = sum(t and f for t, f in zip(truth, found, strict=True))
    return wilson(right, sum(found)), wilson(right, sum(truth))


def wilson(successes: int, n: int) -> Estimate:
    """A share of n trials with its 95 % Wilson score interval; 0 in [0, 1] where there are none."""
    if not n:
        return Estimate(0.0, 0.0, 1.0)
    low, high = binomtest(successes, n).proportion_ci(method="wilson")
    return Estimate(successes / n, float(low), float(high))


def calibration_error(confidence: Array, right: NDArray[np.bool_]) -> float:
    """Expected calibration error in [0, 1]: mean gap between confidence and accuracy over bins of equal mass."""
    gaps = 0.0
    for rows in np.array_split(np.argsort(confidence, kind="stable"), _BINS):
        if len(rows):
            gaps += abs(float(confidence[rows].mean()) - float(right[rows].mean())) * len(rows)
    return gaps / len(confidence)


def bootstrap(n: int, figure: Callable[[NDArray[np.int64]], float]) -> Estimate:
    """``figure`` of all n rows, with its 95 % interval over resampled rows."""
    rng = np.random.default_rng(_SEED)
    values = [figure(rng.integers(0, n, n)) for _ in range(_RESAMPLES)]
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(figure(np.arange(n)), float(low), float(high))
