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

from nlp.artefact import save_artefact
from nlp.contracts import Encoder, FloatArray
from nlp.corpus import Labelled, near_duplicate_groups
from nlp.document import Analyser, Document
from nlp.errors import MinshengError
from nlp.evaluation import Scores, score_themes
from nlp.taxonomy import Taxonomy
from nlp.themes import TASK, TAXONOMY_FILE, Array, Parameters, ThemeModel, prior_shift, read, vectorizer

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
    """What the model sees of n texts (see Reading): vectors (n, d) and word lists."""

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


def analyse(items: Sequence[Labelled], analyser: Analyser, progress: Progress) -> list[Document]:
    """The documents of labelled texts, in order."""
    documents = []
    for done, item in enumerate(items, 1):
        documents.append(analyser(item.text, item.title))
        progress("读取", done, len(items))
    return documents


def extract(documents: Sequence[Document], encoder: Encoder, progress: Progress) -> Features:
    """Features of documents, with progress; memory holds the token states of one batch only."""
    readings: list[tuple[FloatArray, list[str]]] = []
    for start in range(0, len(documents), _ENCODE_BATCH):
        batch = documents[start : start + _ENCODE_BATCH]
        for document, encoding in zip(batch, encoder.encode([d.normalised.text for d in batch]), strict=True):
            reading = read(document, encoding)
            readings.append((reading.vector, reading.words))
        progress("编码", len(readings), len(documents))
    return Features(np.stack([vector for vector, _ in readings]), [words for _, words in readings])


def prepare(
    items: Sequence[Labelled], taxonomy: Taxonomy, *, by_writer: bool = False
) -> tuple[list[str], IntVector, list[int]]:
    """(labels in taxonomy order, label numbers (n,), near-duplicate groups); raises TrainingError if untrainable.

    ``by_writer``: see ``near_duplicate_groups``.
    """
    used = {item.label for item in items}
    labels = [m.id for m in taxonomy.matters if m.id in used]
    groups = near_duplicate_groups(items, by_writer=by_writer)
    _check(items, groups, labels)
    themes = {taxonomy.matter_by_id[label].theme for label in labels}
    if len(themes) < 2:
        raise TrainingError(f"标签至少要分属 2 个主题，实际只有 {'、'.join(themes)}")
    return labels, np.array([labels.index(item.label) for item in items]), groups


def folds(y: IntVector, groups: Sequence[int], count: int) -> list[tuple[IntVector, IntVector]]:
    """(training rows, held-out rows) of stratified folds that never part a group; fewer where data are few."""
    count = min(count, int(np.bincount(y).max()), len(set(groups)))
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with few texts are said in _check
        return list(splitter.split(y, y, groups))


def train(
    items: Sequence[Labelled],
    features: Features,
    taxonomy: Taxonomy,
    name: str,
    progress: Progress,
    adapted: Array | None = None,
    *,
    by_writer: bool = False,
) -> Trained:
    """Fit on all items; scores are out-of-fold. Raises TrainingError where a label has fewer than two groups.

    ``by_writer`` keeps each writer's texts in one fold (see ``near_duplicate_groups``). ``adapted``: where the encoder
    has seen these very labels, its held-out logits (n, K) from ``load_held_out``; those of the folds made here would
    know every answer.
    """
    labels, y, groups = prepare(items, taxonomy, by_writer=by_writer)
    held_out = np.zeros((2, len(items), len(labels)))
    parts = folds(y, groups, FOLDS)
    for number, (inner, outer) in enumerate(parts, 1):
        held_out[:, outer] = fit_base(features.take(inner), y[inner], len(labels)).separate(features.take(outer))
        progress("交叉验证", number, len(parts))
    if adapted is not None:
        held_out[0] = adapted
    theme_ids = [theme.id for theme in taxonomy.themes]
    themes = np.array([theme_ids.index(taxonomy.matter_by_id[item.label].theme) for item in items])
    weights, shift = _weights_of_life(taxonomy, themes), prior_shift(taxonomy, labels)
    pool = fit_pool(held_out, shift, y, weights)
    logits = np.tensordot(pool, held_out, axes=1) + shift
    base = fit_base(features, y, len(labels))
    draft = ThemeModel(taxonomy, labels, base.vocabulary, _parameters(base, pool), name)
    presence, presence_threshold = _fit_presence(logits, themes, items, draft.themes, weights)
    probabilities = np.exp(draft.theme_log_probabilities(logits))
    parameters = replace(
        draft.parameters,
        presence=presence,
        presence_threshold=presence_threshold,
        accept_threshold=risk_threshold(probabilities.max(axis=1), probabilities.argmax(axis=1) == themes, weights),
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
        "priors": {theme.id: theme.prior for theme in model.taxonomy.themes},
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
class Linear:
    """A linear model on vectors: weights float32 (d, K), bias float32 (K,)."""

    weights: FloatArray
    bias: FloatArray

    def logits(self, vectors: FloatArray) -> FloatArray:
        """float32 (n, K)."""
        return vectors @ self.weights + self.bias


@dataclass(frozen=True)
class Base:
    """The two linear models."""

    vocabulary: list[str]
    idf: FloatArray
    encoder: Linear
    term_weights: FloatArray
    term_bias: FloatArray

    def separate(self, features: Features) -> NDArray[np.float64]:
        """float64 (2, n, K): encoder logits and term logits."""
        tfidf = vectorizer(vocabulary=self.vocabulary)
        tfidf.idf_ = self.idf
        lexical = tfidf.transform(features.terms) @ self.term_weights + self.term_bias
        return np.stack([self.encoder.logits(features.vectors), lexical]).astype(np.float64)


def fit_base(features: Features, y: IntVector, classes: int) -> Base:
    """The two linear models on n texts with label numbers ``y`` (n,), 0 ≤ y < classes."""
    tfidf = vectorizer(min_df=2 if len(y) > 500 else 1, max_features=MAX_TERMS)
    matrix = tfidf.fit_transform(features.terms)
    term_w, term_b = _logistic(matrix, y, classes, C=10.0)
    vocabulary = [str(word) for word in tfidf.get_feature_names_out()]
    idf, weights, bias = (np.asarray(a, dtype=np.float32) for a in (tfidf.idf_, term_w, term_b))
    return Base(vocabulary, idf, fit_linear(features.vectors, y, classes), weights, bias)


def fit_linear(vectors: FloatArray, y: IntVector, classes: int) -> Linear:
    """Logistic regression on standardised vectors (n, d), the scaler folded into the weights."""
    scaler = StandardScaler().fit(vectors)
    weights, bias = _logistic(scaler.transform(vectors), y, classes, C=0.02)
    weights = weights / scaler.scale_[:, None]
    return Linear(weights.astype(np.float32), (bias - scaler.mean_ @ weights).astype(np.float32))


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


def _weights_of_life(taxonomy: Taxonomy, themes: IntVector) -> Array:
    """float64 (n,), mean 1: how often a text of its theme comes in life, against how often in these data."""
    priors = np.array([theme.prior for theme in taxonomy.themes])
    if not priors.any():
        return np.ones(len(themes))
    weights = np.asarray(priors / np.maximum(np.bincount(themes, minlength=len(priors)), 1), dtype=np.float64)[themes]
    return np.asarray(weights / weights.mean())


def fit_pool(held_out: NDArray[np.float64], shift: Array, y: IntVector, weights: Array) -> Array:
    """Weights (m,) of held-out logits (m, n, K) with the least log loss, none negative."""

    def loss(pool: Array) -> float:
        log_p = log_softmax(np.tensordot(pool, held_out, axes=1) + shift, axis=1)
        return -float(weights @ log_p[np.arange(len(y)), y]) / len(y)

    start = np.full(len(held_out), 0.7)
    found = minimize(loss, start, method="L-BFGS-B", bounds=[(0.0, 10.0)] * len(held_out))
    return np.asarray(found.x, dtype=np.float64)


def _fit_presence(
    logits: Array, themes: IntVector, items: Sequence[Labelled], names: tuple[str, ...], life: Array
) -> tuple[Array, float]:
    """The secondary head (K + 1, T) and the threshold with the best F0.5 over secondary themes.

    F0.5 (van Rijsbergen 1979) asks for precision twice as hard as for recall: a second theme that is none sends a
    paper to an office that has no part in it. Texts weigh as much as their theme comes in life.
    """
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

    def f_half(threshold: float) -> float:
        chosen = present >= threshold
        hits, said, wanted = (float(life @ x.sum(axis=1)) for x in (chosen & truth, chosen, truth))
        return 1.25 * hits / max(1e-9, said + 0.25 * wanted)

    grid = np.linspace(0.1, 0.95, 35)
    return weights, float(max(grid, key=f_half)) if truth.any() else 1.1


def risk_threshold(confidence: Array, right: NDArray[np.bool_], weights: Array) -> float:
    """The lowest confidence at which the error among all more confident answers stays within ACCEPTED_RISK.

    All (n,); above any confidence where no answer is safe.
    """
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(weights[order] * ~right[order])
    within = np.flatnonzero(wrong / np.cumsum(weights[order]) <= ACCEPTED_RISK)
    return float(confidence[order][within[-1]]) if len(within) else 1.1


def _parameters(base: Base, pool: Array) -> Parameters:
    return Parameters(
        base.encoder.weights, base.encoder.bias, base.term_weights, base.term_bias, base.idf, pool,
        presence=np.zeros((len(base.encoder.bias) + 1, 1)), presence_threshold=1.1, accept_threshold=1.1,
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
