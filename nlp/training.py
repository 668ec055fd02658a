"""Fits a theme model on labelled submissions, with grouped cross-validation of the whole procedure.

Everything that sits on top of the two linear models — pool weights, secondary head, thresholds — is fitted on
out-of-fold logits, and folds never part near-duplicates, so that the figures in ``meta.json`` are honest.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from nlp.adaptation import Head
from nlp.artefact import save_artefact
from nlp.contracts import Encoder, FloatArray
from nlp.corpus import Labelled, near_duplicate_groups
from nlp.document import Analyser
from nlp.errors import MinshengError
from nlp.evaluation import Scores, score_themes
from nlp.taxonomy import Taxonomy
from nlp.themes import TASK, TAXONOMY_FILE, Array, Parameters, ThemeModel, terms, vectorizer

FOLDS = 5
SEED = 20220101
MAX_TERMS = 30_000
# Error among accepted answers that the office is promised on texts like the training corpus.
ACCEPTED_RISK = 0.05
_ENCODE_BATCH = 64

Progress = Callable[[str, int, int], None]
IntVector = NDArray[np.int64]


class TrainingError(MinshengError):
    """The data cannot be trained on: too few labels, or too few texts a label."""


@dataclass(frozen=True)
class Features:
    """What the model sees of n texts: base vectors (n, d) and word lists."""

    vectors: FloatArray
    terms: list[list[str]]

    def take(self, rows: IntVector) -> Features:
        """The features of some rows, in the order given."""
        return Features(self.vectors[rows], [self.terms[i] for i in rows])


@dataclass(frozen=True)
class Trained:
    """A fitted model and its out-of-fold scores."""

    model: ThemeModel
    scores: Scores


def extract(items: Sequence[Labelled], analyser: Analyser, encoder: Encoder, progress: Progress) -> Features:
    """Features of labelled texts, with progress; memory holds the token states of one batch only."""
    vectors: list[FloatArray] = []
    words: list[list[str]] = []
    for start in range(0, len(items), _ENCODE_BATCH):
        documents = [analyser(item.text, item.title) for item in items[start : start + _ENCODE_BATCH]]
        words += [terms(document) for document in documents]
        vectors += [e.vector for e in encoder.encode([d.normalised.text for d in documents])]
        progress("读取并编码", min(start + _ENCODE_BATCH, len(items)), len(items))
    return Features(np.stack(vectors), words)


def prepare(items: Sequence[Labelled], taxonomy: Taxonomy) -> tuple[list[str], IntVector, list[int]]:
    """(labels in taxonomy order, label numbers (n,), near-duplicate groups); raises TrainingError if untrainable."""
    used = {item.label for item in items}
    labels = [m.id for m in taxonomy.matters if m.id in used]
    groups = near_duplicate_groups(items)
    _check(items, groups, labels)
    themes = {taxonomy.matter_by_id[label].theme for label in labels}
    if len(themes) < 2:
        raise TrainingError(f"标签至少要分属 2 个主题，实际只有 {'、'.join(themes)}")
    return labels, np.array([labels.index(item.label) for item in items]), groups


def train(
    items: Sequence[Labelled],
    features: Features,
    taxonomy: Taxonomy,
    name: str,
    progress: Progress,
    adapted: Head | None = None,
) -> Trained:
    """Fit on all items; scores are out-of-fold. Raises TrainingError where a label has fewer than two groups.

    ``adapted`` is the head that was trained with the encoder; an encoder that has seen these very labels must not have
    another one fitted on its vectors, which would know every answer.
    """
    labels, y, groups = prepare(items, taxonomy)
    held_out = np.zeros((2, len(items), len(labels)))
    count = min(FOLDS, int(np.bincount(y).max()), len(set(groups)))  # a very small set cannot be cut finer
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer than five texts are said in _check
        folds = list(splitter.split(y, y, groups))
    for number, (inner, outer) in enumerate(folds, 1):
        base = _fit_base(features.take(inner), y[inner], len(labels), adapted)
        held_out[:, outer] = base.separate(features.take(outer))
        progress("交叉验证", number, count)
    if adapted is not None:
        held_out[0] = adapted.held_out
    pool = _fit_pool(held_out, y)
    logits = np.tensordot(pool, held_out, axes=1)
    base = _fit_base(features, y, len(labels), adapted)
    draft = ThemeModel(taxonomy, labels, base.vocabulary, _parameters(base, pool), name)
    themes = np.array([draft.themes.index(taxonomy.matter_by_id[item.label].theme) for item in items])
    presence, presence_threshold = _fit_presence(logits, themes, items, draft.themes)
    probabilities = np.exp(draft.theme_log_probabilities(logits))
    parameters = replace(
        draft.parameters,
        presence=presence,
        presence_threshold=presence_threshold,
        accept_threshold=_accept_threshold(probabilities, themes),
    )
    progress("拟合", 1, 1)
    model = ThemeModel(taxonomy, labels, base.vocabulary, parameters, name)
    matter_accuracy = float((logits.argmax(axis=1) == y).mean())
    scores = score_themes(
        draft.themes, probabilities, [draft.themes[t] for t in themes], threshold=parameters.accept_threshold
    )
    return Trained(model, replace(scores, matter_accuracy=matter_accuracy))


def save(
    trained: Trained,
    target: Path,
    *,
    encoder_id: str,
    taxonomy_kind: str,
    taxonomy_text: str | None,
    papers: dict[str, Any],
) -> None:
    """Write the model folder. ``taxonomy_kind`` is ``shipped``, ``own`` (text given) or ``labels``."""
    model, p = trained.model, trained.model.parameters
    meta = {
        "task": TASK,
        "encoder_id": encoder_id,
        "taxonomy": taxonomy_kind,
        "taxonomy_version": model.taxonomy.version,
        "labels": list(model.matters),
        "themes": list(model.themes),
        "thresholds": {"accept": p.accept_threshold, "presence": p.presence_threshold, "accepted_risk": ACCEPTED_RISK},
        "scores": {"out_of_fold": trained.scores.as_dict(), "folds": FOLDS, "seed": SEED},
        **papers,
    }
    weights: dict[str, NDArray[Any]] = {
        # Half precision: a thousandth of a logit, and half the folder.
        "encoder_weights": p.encoder_weights.astype(np.float16),
        "encoder_bias": p.encoder_bias,
        "term_weights": p.term_weights.astype(np.float16),
        "term_bias": p.term_bias,
        "idf": p.idf,
        "pool": p.pool,
        "presence": p.presence,
    }
    extra = {TAXONOMY_FILE: taxonomy_text} if taxonomy_text is not None else {}
    save_artefact(target, meta, weights, model.vocabulary, extra)


@dataclass(frozen=True)
class _Base:
    """The two linear models, the scaler folded into the encoder's weights."""

    vocabulary: list[str]
    idf: FloatArray
    encoder_weights: FloatArray
    encoder_bias: FloatArray
    term_weights: FloatArray
    term_bias: FloatArray

    def separate(self, features: Features) -> NDArray[np.float64]:
        """float64 (2, n, K): encoder logits and term logits."""
        tfidf = vectorizer(vocabulary=self.vocabulary)
        tfidf.idf_ = self.idf
        encoder = features.vectors @ self.encoder_weights + self.encoder_bias
        lexical = tfidf.transform(features.terms) @ self.term_weights + self.term_bias
        return np.stack([encoder, lexical]).astype(np.float64)


def _fit_base(features: Features, y: IntVector, classes: int, adapted: Head | None) -> _Base:
    if adapted is not None:
        encoder_w, encoder_b = adapted.weights, adapted.bias
    else:
        scaler = StandardScaler().fit(features.vectors)
        encoder_w, encoder_b = _logistic(scaler.transform(features.vectors), y, classes, C=0.02)
        encoder_w = encoder_w / scaler.scale_[:, None]
        encoder_b = encoder_b - scaler.mean_ @ encoder_w
    tfidf = vectorizer(min_df=2 if len(y) > 500 else 1, max_features=MAX_TERMS)
    matrix = tfidf.fit_transform(features.terms)
    term_w, term_b = _logistic(matrix, y, classes, C=10.0)
    vocabulary = [str(word) for word in tfidf.get_feature_names_out()]
    arrays = (np.asarray(a, dtype=np.float32) for a in (tfidf.idf_, encoder_w, encoder_b, term_w, term_b))
    return _Base(vocabulary, *arrays)


def _logistic(x: Any, y: IntVector, classes: int, C: float) -> tuple[Any, Any]:  # noqa: N803  (scikit-learn's name)
    """Balanced multinomial logistic regression: weights (features, classes), bias (classes,).

    A class that a fold lacks gets no weight and a very low bias.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are enough for the pool above it
        fitted = LogisticRegression(C=C, class_weight="balanced", max_iter=200).fit(x, y)
    weights, bias = np.zeros((x.shape[1], classes)), np.full(classes, -20.0)
    if len(fitted.classes_) == 2:  # scikit-learn keeps one row for two classes
        weights[:, fitted.classes_] = np.stack([-fitted.coef_[0], fitted.coef_[0]], axis=1) / 2
        bias[fitted.classes_] = np.array([-fitted.intercept_[0], fitted.intercept_[0]]) / 2
    else:
        weights[:, fitted.classes_] = fitted.coef_.T
        bias[fitted.classes_] = fitted.intercept_
    return weights, bias


def _fit_pool(held_out: NDArray[np.float64], y: IntVector) -> Array:
    """Weights (2,) of encoder and term logits with the least out-of-fold log loss, neither negative."""

    def loss(weights: Array) -> float:
        return -float(log_softmax(np.tensordot(weights, held_out, axes=1), axis=1)[np.arange(len(y)), y].mean())

    found = minimize(loss, np.array([0.7, 0.7]), method="L-BFGS-B", bounds=[(0.0, 10.0)] * 2)
    return np.asarray(found.x, dtype=np.float64)


def _fit_presence(
    logits: Array, themes: IntVector, items: Sequence[Labelled], names: tuple[str, ...]
) -> tuple[Array, float]:
    """The secondary head (K + 1, T) and the threshold with the best micro-F1 over secondary themes."""
    x = log_softmax(logits, axis=1)
    asked = np.zeros((len(items), len(names)), dtype=bool)
    asked[np.arange(len(items)), themes] = True
    for row, item in enumerate(items):
        for theme in item.secondary:
            if theme in names:
                asked[row, names.index(theme)] = True
    weights = np.zeros((x.shape[1] + 1, len(names)))
    weights[-1] = -20.0
    present = np.zeros_like(asked, dtype=np.float64)
    for t in range(len(names)):
        if 0 < asked[:, t].sum() < len(items):
            fitted = LogisticRegression(C=0.01, max_iter=1000).fit(x, asked[:, t])
            weights[:, t] = [*fitted.coef_[0], fitted.intercept_[0]]
            present[:, t] = fitted.predict_proba(x)[:, 1]
    present[np.arange(len(items)), themes] = -1.0
    truth = asked.copy()
    truth[np.arange(len(items)), themes] = False

    def micro_f1(threshold: float) -> float:
        chosen = present >= threshold
        return 2 * float((chosen & truth).sum()) / max(1.0, float(chosen.sum() + truth.sum()))

    grid = np.linspace(0.1, 0.9, 33)
    return weights, float(max(grid, key=micro_f1)) if truth.any() else 1.1


def _accept_threshold(probabilities: Array, themes: IntVector) -> float:
    """The lowest confidence at which the error among all more confident answers stays within ACCEPTED_RISK."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(probabilities.argmax(axis=1)[order] != themes[order])
    within = np.flatnonzero(wrong / np.arange(1, len(order) + 1) <= ACCEPTED_RISK)
    return float(confidence[order][within[-1]]) if len(within) else 1.1


def _parameters(base: _Base, pool: Array) -> Parameters:
    return Parameters(
        base.encoder_weights, base.encoder_bias, base.term_weights, base.term_bias, base.idf, pool,
        presence=np.zeros((len(base.encoder_bias) + 1, 1)), presence_threshold=1.1, accept_threshold=1.1,
    )  # fmt: skip


def _check(items: Sequence[Labelled], groups: list[int], labels: list[str]) -> None:
    unknown = sorted({item.label for item in items} - set(labels))
    if unknown:
        raise TrainingError(f"标签不在主题分类中：{'、'.join(unknown[:5])}（共 {len(unknown)} 个）")
    if len(labels) < 2:
        raise TrainingError(f"至少需要 2 个标签，实有 {len(labels)} 个")
    distinct = Counter(label for label, _ in {(item.label, group) for item, group in zip(items, groups, strict=True)})
    few = [label for label in labels if distinct[label] < 2]
    if few:
        raise TrainingError(f"每个标签至少需要 2 条互不重复的文本，不足的有：{'、'.join(few[:5])}")
