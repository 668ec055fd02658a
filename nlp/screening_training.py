"""Fitting the screening model, and its scores on labelled cases.

Cases are JSON Lines, told apart by what they carry: ``urgent`` (true or false, with the ``sentence``), ``kind`` or
``flags``. Background texts are taken for not urgent, at a small weight: they keep ordinary complaints from alarming.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from nlp.artefact import save_artefact
from nlp.contracts import Encoder, Encoding, FloatArray, Screening
from nlp.corpus import lines_of
from nlp.document import Analyser, Document
from nlp.errors import DataError
from nlp.evaluation import Estimate, calibration_error, detection, wilson
from nlp.screening import FLAGS, KINDS, READINGS, TASK, URGENT, Array, Parameters, urgency

SEED = 7
FOLDS = 8
# Unit vectors are short for a regularised regression; the strength was chosen out of fold.
_SCALE = 10.0
_BACKGROUND_WEIGHT = 0.6
# The least recall of urgency out of fold: an alarm missed costs more than one too many.
RECALL = 0.96
_BATCH = 32
Progress = Callable[[str, int, int], None]
Bools = NDArray[np.bool_]
Threshold = Callable[[Bools, Array], float]
Read = tuple[Document, Encoding]


@dataclass(frozen=True)
class Case:
    """A labelled text; ``urgent``, ``kind`` and ``flags`` are None where the file does not say."""

    id: str
    text: str
    urgent: bool | None
    sentence: str | None
    kind: str | None
    flags: tuple[str, ...] | None


def load_cases(paths: Iterable[Path]) -> list[Case]:
    """Read case files; raises DataError naming file and line."""
    return [_case(path, number, line) for path in paths for number, line in lines_of(path)]


def _case(path: Path, number: int, line: str) -> Case:
    try:
        r: dict[str, Any] = json.loads(line)
        flags = r.get("flags")
        case = Case(str(r["id"]), r["text"], r.get("urgent"), r.get("sentence"), r.get("kind"),
                    None if flags is None else tuple(flags))  # fmt: skip
    except json.JSONDecodeError as error:
        raise DataError(path, f"不是有效的 JSON：{error}", number) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(path, f"缺少字段 {error}", number) from error
    if case.urgent is None and case.kind is None and case.flags is None:
        raise DataError(path, "urgent、kind、flags 至少应有一个", number)
    if case.kind is not None and case.kind not in KINDS:
        raise DataError(path, f"kind 是 {case.kind!r}，应为 {'、'.join(KINDS)} 之一", number)
    if unknown := [flag for flag in case.flags or () if flag not in FLAGS]:
        raise DataError(path, f"flags 中有 {'、'.join(unknown)}，应为 {'、'.join(FLAGS)} 之一", number)
    if case.urgent and (not case.sentence or case.sentence not in case.text):
        raise DataError(path, "urgent 为 true 时 sentence 应为正文中的一句", number)
    return case


def read(texts: Sequence[str], analyser: Analyser, encoder: Encoder, progress: Progress) -> list[Read]:
    """Documents and encodings of texts, in order."""
    found: list[Read] = []
    for start in range(0, len(texts), _BATCH):
        documents = [analyser(text) for text in texts[start : start + _BATCH]]
        found += zip(documents, encoder.encode([d.normalised.text for d in documents]), strict=True)
        progress("编码", len(found), len(texts))
    return found


def train_screen(
    cases: Sequence[Case], texts: Sequence[Read], background: Sequence[Read]
) -> tuple[Parameters, dict[str, Any]]:
    """Fit all readings; ``texts`` are the cases' own, in order. Returns them with their out-of-fold scores.

    Thresholds come from out-of-fold probabilities, and so the scores flatter a little.
    """
    vectors = np.stack([encoding.vector for _, encoding in texts])
    quiet = np.stack([encoding.vector for _, encoding in background]) if background else vectors[:0]
    weights, bias = np.zeros((vectors.shape[1], len(READINGS))), np.zeros(len(READINGS))
    thresholds: dict[str, float] = {}
    scores: dict[str, Any] = {}

    def judge(reading: str, rows: list[int], truth: Bools, quiet: FloatArray, threshold: Threshold) -> None:
        column = READINGS.index(reading)
        weights[:, column], bias[column] = _fit(vectors[rows], truth, quiet)
        p = np.zeros(len(rows))
        for inner, outer in _folds(truth):
            w, b = _fit(vectors[rows][inner], truth[inner], quiet)
            p[outer] = expit(vectors[rows][outer].astype(np.float64) @ w + b)
            if reading == URGENT:
                p[outer] = [urgency(texts[rows[i]][0], texts[rows[i]][1], w, b) for i in outer]
        thresholds[reading] = threshold(truth, p)
        scores[reading] = both(truth.tolist(), (p >= thresholds[reading]).tolist())

    rows = [i for i, case in enumerate(cases) if case.urgent is not None]
    judge(URGENT, rows, np.array([bool(cases[i].urgent) for i in rows]), quiet, _at_recall)
    rows = [i for i, case in enumerate(cases) if case.flags is not None]
    for flag in FLAGS:
        judge(flag, rows, np.array([flag in (cases[i].flags or ()) for i in rows]), vectors[:0], _best_f1)
    rows = [i for i, case in enumerate(cases) if case.kind is not None]
    kinds = np.array([KINDS.index(cases[i].kind or "") for i in rows])
    model = LogisticRegression(max_iter=2000).fit(vectors[rows] * _SCALE, kinds)
    sharpness, accuracy = _sharpness(vectors[rows], kinds)
    weights[:, 1 : 1 + len(KINDS)] = model.coef_.T * _SCALE * sharpness
    bias[1 : 1 + len(KINDS)] = model.intercept_ * sharpness
    scores["诉求类型"] = {"accuracy": accuracy}
    return Parameters(weights, bias, thresholds), scores


def _fit(vectors: FloatArray, truth: Bools, quiet: FloatArray) -> tuple[Array, float]:
    weight = np.concatenate([np.ones(len(truth)), np.full(len(quiet), _BACKGROUND_WEIGHT)])
    model = LogisticRegression(max_iter=2000).fit(
        np.concatenate([vectors, quiet]) * _SCALE,
        np.concatenate([truth, np.zeros(len(quiet), dtype=bool)]),
        sample_weight=weight,
    )
    return np.asarray(model.coef_[0] * _SCALE, dtype=np.float64), float(model.intercept_[0])


def _folds(truth: Bools) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    count = min(FOLDS, int(truth.sum()), int((~truth).sum()))
    return list(StratifiedKFold(count, shuffle=True, random_state=SEED).split(np.zeros(len(truth)), truth))


def _sharpness(vectors: FloatArray, kinds: NDArray[np.int64]) -> tuple[float, float]:
    """The factor on the logits that suits the out-of-fold answers best (least log loss), and their accuracy.

    The regression is held back so hard that its probabilities are too even.
    """
    logits = np.zeros((len(kinds), len(KINDS)))
    count = min(FOLDS, int(np.bincount(kinds).min()))
    for inner, outer in StratifiedKFold(count, shuffle=True, random_state=SEED).split(vectors, kinds):
        model = LogisticRegression(max_iter=2000).fit(vectors[inner] * _SCALE, kinds[inner])
        logits[outer] = model.decision_function(vectors[outer] * _SCALE)
    rows = np.arange(len(kinds))
    factors = [round(float(f), 1) for f in np.arange(1, 5.1, 0.1)]
    best = min(factors, key=lambda f: -float(log_softmax(f * logits, axis=1)[rows, kinds].sum()))
    return best, round(float((logits.argmax(axis=1) == kinds).mean()), 4)


def _at_recall(truth: Bools, p: Array) -> float:
    return float(np.sort(p[truth])[int((1 - RECALL) * truth.sum())])


def _best_f1(truth: Bools, p: Array) -> float:
    def f1(threshold: float) -> float:
        found = p >= threshold
        return 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())

    return max((round(float(t), 2) for t in np.arange(0.2, 0.71, 0.05)), key=f1)


def score_screen(cases: Sequence[Case], answers: Sequence[Screening]) -> dict[str, Any]:
    """Scores as plain data, each share with its 95 % Wilson interval; only what the cases carry."""
    pairs = list(zip(cases, answers, strict=True))
    found: dict[str, Any] = {"n": len(cases)}
    if urgent := [(c, a) for c, a in pairs if c.urgent is not None]:
        right = [_overlaps(c, a) for c, a in urgent if c.urgent and a.urgent]
        found["urgency"] = {
            "n": len(urgent),
            **both([bool(c.urgent) for c, _ in urgent], [a.urgent is not None for _, a in urgent]),
            "sentence": plain(wilson(sum(right), len(right))),
        }
    if kinds := [(c, a) for c, a in pairs if c.kind is not None]:
        right = [c.kind == a.kind for c, a in kinds]
        found["kinds"] = {
            "n": len(kinds),
            "accuracy": plain(wilson(sum(right), len(right))),
            "ece": round(calibration_error(np.array([a.confidence for _, a in kinds]), np.array(right)), 4),
            "by_kind": {k: both([c.kind == k for c, _ in kinds], [a.kind == k for _, a in kinds]) for k in KINDS},
        }
    if flags := [(c, a) for c, a in pairs if c.flags is not None]:
        names = [{flag.kind for flag in a.flags} for _, a in flags]
        found["flags"] = {
            "n": len(flags),
            "by_flag": {f: both([f in (c.flags or ()) for c, _ in flags], [f in n for n in names]) for f in FLAGS},
        }
    return found


def _overlaps(case: Case, answer: Screening) -> bool:
    if answer.urgent is None or case.sentence is None:
        return False
    start = case.text.index(case.sentence)
    return answer.urgent.start < start + len(case.sentence) and start < answer.urgent.end


def both(truth: Sequence[bool], found: Sequence[bool]) -> dict[str, Any]:
    """Precision and recall as plain data."""
    precision, recall = detection(truth, found)
    return {"precision": plain(precision), "recall": plain(recall)}


def plain(estimate: Estimate) -> dict[str, float]:
    """An estimate, rounded."""
    return {key: round(value, 4) for key, value in asdict(estimate).items()}


def save_screen(
    parameters: Parameters, scores: dict[str, Any], target: Path, *, encoder_id: str, papers: dict[str, Any]
) -> None:
    """Write the model folder."""
    meta = {"task": TASK, "encoder_id": encoder_id, "labels": list(READINGS), "thresholds": parameters.thresholds,
            "scores": {"out_of_fold": scores, "folds": FOLDS, "seed": SEED}, **papers}  # fmt: skip
    weights: dict[str, NDArray[Any]] = {"weights": parameters.weights.astype(np.float32), "bias": parameters.bias}
    save_artefact(target, meta, weights, list(READINGS))
