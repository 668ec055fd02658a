"""Fits the pair model on labelled pairs, with cross-validation by group, and scores it.

Three kinds of pairs that need no judgement are added, because the corpus holds only hard ones. Copies: the same text
twice, and with a sentence left out; without them a model takes likeness itself for a warning. Letters of the theme
corpora, each with those nearest to it; written apart, they never tell of one event, and they are what a search over a
real store brings up. Two stretches of one letter (cropping, after Izacard et al. 2022): in a real store, people who
raise a thing again mostly repeat themselves, while the corpus's duplicates hardly share a word.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from nlp.artefact import save_artefact
from nlp.contracts import Encoder, Encoding, FloatArray
from nlp.corpus import Labelled, lines_of
from nlp.document import Analyser, Document
from nlp.errors import DataError
from nlp.evaluation import Scores, score_themes
from nlp.grading import RELATIONS, SOURCES, Grading, Trees
from nlp.matching import (
    MENTIONS,
    TASK,
    Background,
    PairModel,
    Profiler,
    features,
    grams,
    matrix,
)
from nlp.mentions import MentionFinder
from nlp.training import SEED, TrainingError, folds

FOLDS = 6
RIDGE = 0.1
# Boosting: rounds of three trees, each on part of the pairs and with few features to choose from at a node.
BOOSTING = {
    "n_estimators": 200, "learning_rate": 0.08, "max_depth": 3, "subsample": 0.6, "max_features": "sqrt",
    "min_samples_leaf": 15,
}  # fmt: skip
# A group of characters in fewer background texts is left out of the counts.
MIN_TEXTS = 3
# Copies per pair of the corpus.
COPIES = 0.15
# Letters written apart: how many nearest ones each is paired with, how many of these pairs are drawn, and how much one
# counts, so that all together count about as much as the written ones.
NEIGHBOURS = 3
APART = 6000
APART_WEIGHT = 0.6
# Letters of which two stretches are paired, how many sentences and characters they have, and what share a stretch is.
STRETCHES = 900
STRETCHED_SENTENCES = 4
STRETCHED_CHARS = 600
STRETCH = (0.45, 0.9)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LabelledPair:
    """Two texts and their grade; ``trap`` and ``conflicts`` (kinds) where known; pairs of a ``group`` never part.

    ``source``: of nlp/grading.py's ``SOURCES``, where it is not a written pair.
    """

    id: str
    a: str
    b: str
    relation: str
    trap: str = ""
    conflicts: tuple[str, ...] = ()
    group: str = ""
    source: str = ""


@dataclass(frozen=True)
class TrainedPairs:
    """A fitted pair model and its out-of-fold scores on the written pairs, as compared."""

    model: PairModel
    scores: Scores


def load_pairs(paths: Iterable[Path]) -> list[LabelledPair]:
    """Read JSON Lines of pairs; raises DataError naming file and line."""
    return [_pair(path, number, line) for path in paths for number, line in lines_of(path)]


def _pair(path: Path, number: int, line: str) -> LabelledPair:
    try:
        r: dict[str, Any] = json.loads(line)
        if r["relation"] not in RELATIONS:
            raise DataError(path, f"relation 是 {r['relation']!r}，应为 {'、'.join(RELATIONS)} 之一", number)
        kinds = tuple(conflict["kind"] for conflict in r.get("conflicts", ()))
        return LabelledPair(
            str(r["id"]), r["a"], r["b"], r["relation"], r.get("trap") or "", kinds,
            str(r.get("group") or r["id"]),
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise DataError(path, f"不是有效的 JSON：{error}", number) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(path, f"缺少字段 {error}", number) from error


def count_background(texts: Iterable[Document]) -> Background:
    """Counts of characters, pairs and triples in a collection of documents."""
    counts: Counter[str] = Counter()
    number = 0
    for document in texts:
        number += 1
        for n in (1, 2, 3):
            counts.update(grams(document.normalised.text, n))
    return Background({g: c for g, c in sorted(counts.items()) if c >= MIN_TEXTS}, number)


@dataclass(frozen=True)
class Reader:
    """What reads raw texts: kept together because the two are always needed together."""

    analyser: Analyser
    encoder: Encoder

    def read(self, texts: Sequence[str], progress: Progress) -> dict[str, tuple[Document, Encoding]]:
        """Document and encoding of each different text."""
        found: dict[str, tuple[Document, Encoding]] = {}
        distinct = list(dict.fromkeys(texts))
        for start in range(0, len(distinct), 64):
            part = distinct[start : start + 64]
            documents = [self.analyser(text, None) for text in part]
            encodings = self.encoder.encode([d.normalised.text for d in documents])
            found |= {t: (d, e) for t, d, e in zip(part, documents, encodings, strict=True)}
            progress("读取并编码", len(found), len(distinct))
        return found


def train_pairs(
    pairs: Sequence[LabelledPair],
    letters: Sequence[Labelled],
    reader: Reader,
    background: Background,
    matters: tuple[NDArray[Any], NDArray[Any]],
    corpora: Path,
    name: str,
    progress: Progress,
) -> TrainedPairs:
    """Fit on all pairs; scores are out of fold, by group. ``letters``: those that pairs apart and stretches come from.

    matters: weights (d, K) and bias (K,) of a linear reading of base vectors as matters. Raises TrainingError
    where a grade has fewer pairs than there are folds.
    """
    counted = Counter(pair.relation for pair in pairs)
    few = [relation for relation in RELATIONS if counted[relation] < FOLDS]
    if few:
        raise TrainingError(f"每个等级至少需要 {FOLDS} 对，不足的有：{'、'.join(few)}")
    stretches = _stretches(letters, reader.analyser)
    everything = [*pairs, *_copies(pairs), *stretches]
    read = reader.read([*(t for p in everything for t in (p.a, p.b)), *map(_whole, letters)], progress)
    everything += _apart(letters, np.stack([read[_whole(one)][1].vector for one in letters]) if letters else None)
    token_mean = _token_mean([encoding for _, encoding in read.values()])
    profiler = Profiler(MentionFinder(corpora / MENTIONS, background.counts), background, token_mean, *matters)
    profiles = {text: profiler(*read[text]) for text in {text for p in everything for text in (p.a, p.b)}}
    both = [(profiles[p.a], profiles[p.b]) for p in everything]
    names = tuple(features(*both[0], background))
    x = matrix(both, names, background)
    of = [p.source or p.relation for p in everything]
    sources = tuple(source for source in SOURCES if source in of)
    y = np.array([sources.index(source) for source in of])
    weight = np.where([source.startswith("apart") for source in of], APART_WEIGHT, 1.0)
    held_out = np.zeros((len(everything), len(RELATIONS)))
    _, groups = np.unique([p.group or p.id for p in everything], return_inverse=True)
    parts = folds(y, groups.tolist(), FOLDS)
    for number, (inner, outer) in enumerate(parts, 1):
        held_out[outer] = _fit(x[inner], y[inner], weight[inner], sources).probabilities(x[outer], "compare")
        progress("交叉验证", number, len(parts))
    model = PairModel(profiler, _fit(x, y, weight, sources), names, name)
    scores = score_themes(RELATIONS, held_out[: len(pairs)], [p.relation for p in pairs])
    return TrainedPairs(model, scores)


def _token_mean(encodings: Sequence[Encoding]) -> FloatArray:
    """float32 (d,): the mean token state."""
    total = np.sum([encoding.tokens.sum(axis=0, dtype=np.float64) for encoding in encodings], axis=0)
    return np.asarray(total / sum(len(encoding.tokens) for encoding in encodings), dtype=np.float32)


def _fit(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64], sources: tuple[str, ...]
) -> Grading:
    """Both models on rows of features (n, F), sources (n,) and weights (n,)."""
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    linear = LogisticRegression(C=RIDGE, max_iter=2000).fit((x - centre) / scale, y, weight)
    boosted = GradientBoostingClassifier(**BOOSTING, random_state=SEED).fit(x, y, weight)
    prior = np.bincount(y, weight, minlength=len(sources)) / weight.sum()
    return Grading(sources, linear.coef_.T, linear.intercept_, centre, scale, _trees(boosted, np.log(prior)))


def _trees(boosted: GradientBoostingClassifier, prior: NDArray[np.float64]) -> Trees:
    """The fitted trees as arrays."""
    trees = [estimator.tree_ for estimator in boosted.estimators_.ravel()]
    shape = len(trees), max(tree.node_count for tree in trees)
    feature, left, right = (np.zeros(shape, dtype=np.int32) for _ in range(3))
    threshold, values = np.zeros(shape), np.zeros(shape)
    for t, tree in enumerate(trees):
        nodes, leaf = np.arange(tree.node_count), tree.children_left < 0
        feature[t, nodes] = np.where(leaf, 0, tree.feature)
        left[t, nodes] = np.where(leaf, nodes, tree.children_left)
        right[t, nodes] = np.where(leaf, nodes, tree.children_right)
        threshold[t, nodes] = tree.threshold
        values[t, nodes] = tree.value[:, 0, 0] * boosted.learning_rate
    return Trees(prior, feature, threshold, left, right, values)


def _copies(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """The same text again, with its first or last sentence left out, as duplicates; in the group of the original."""
    made = []
    step = max(1, round(1 / COPIES))
    for number, pair in enumerate(pairs[::step]):
        parts = [part for part in pair.a.replace("！", "。").replace("？", "。").split("。") if part.strip()]
        kept = parts[1:] if number % 2 and len(parts) > 2 else parts[:-1] if len(parts) > 2 else parts
        shortened = "。".join(kept) + "。"
        made.append(LabelledPair(f"{pair.id}-copy", pair.a, shortened, "duplicate", group=pair.group))
    return made


def _whole(letter: Labelled) -> str:
    return f"{letter.title}\n{letter.text}" if letter.title else letter.text


def _stretches(letters: Sequence[Labelled], analyser: Analyser) -> list[LabelledPair]:
    """Two stretches each, which may overlap, of letters drawn at random, as duplicates."""
    random = np.random.default_rng(SEED)
    made: list[LabelledPair] = []
    for number in random.permutation(len(letters)):
        whole = _whole(letters[number])
        document = analyser(whole, None)
        text = document.normalised.text
        sentences = [text[a:b] for a, b in document.sentences if text[a:b].strip()]
        if len(sentences) < STRETCHED_SENTENCES or len(whole) > STRETCHED_CHARS:
            continue
        a, b = ("".join(_stretch(sentences, random)) for _ in range(2))
        if a != b:
            made.append(LabelledPair(f"{letters[number].id}/", a, b, "duplicate", source="stretches"))
        if len(made) == STRETCHES:
            break
    return made


def _stretch(sentences: Sequence[str], random: np.random.Generator) -> Sequence[str]:
    length = math.ceil(len(sentences) * random.uniform(*STRETCH))
    start = int(random.integers(len(sentences) - length + 1))
    return sentences[start : start + length]


def _apart(letters: Sequence[Labelled], vectors: FloatArray | None) -> list[LabelledPair]:
    """Letters with those nearest to them, not of one group: related where the matter is the same, else unrelated."""
    if vectors is None:
        return []
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :NEIGHBOURS]
    met = {(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row if int(j) != i}
    apart = [(i, j) for i, j in sorted(met) if not letters[i].group or letters[i].group != letters[j].group]
    drawn = np.sort(np.random.default_rng(SEED).permutation(len(apart))[:APART])
    made = []
    for i, j in (apart[k] for k in drawn):
        relation = "related" if letters[i].label == letters[j].label else "unrelated"
        a, b = letters[i], letters[j]
        made.append(LabelledPair(f"{a.id}~{b.id}", _whole(a), _whole(b), relation, source=f"apart_{relation}"))
    return made


def save_pairs(
    trained: TrainedPairs, target: Path, *, encoder_id: str, background: Background, papers: dict[str, Any]
) -> None:
    """Write the model folder."""
    model, g, p = trained.model, trained.model.grading, trained.model.profiler
    meta = {
        "task": TASK,
        "encoder_id": encoder_id,
        "labels": list(RELATIONS),
        "sources": list(g.sources),
        "features": list(model.features),
        "background_texts": background.texts,
        "scores": {"out_of_fold": trained.scores.as_dict(), "folds": FOLDS, "seed": SEED},
        **papers,
    }
    weights: dict[str, NDArray[Any]] = {
        "weights": g.weights, "bias": g.bias, "centre": g.centre, "scale": g.scale,
        **{f"trees:{name}": values for name, values in vars(g.trees).items()},
        "token_mean": p.token_mean.astype(np.float32),
        "matter_weights": p.matter_weights.astype(np.float16), "matter_bias": p.matter_bias.astype(np.float32),
        "counts": np.array(list(background.counts.values()), dtype=np.int32),
    }  # fmt: skip
    save_artefact(target, meta, weights, list(background.counts))
