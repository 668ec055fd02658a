"""Grades two texts: duplicate, related or unrelated, with conflicts and with the sentences that say why.

Cosine alone cannot tell: civic texts share templates, and the same complaint about two estates reads more alike than
two neighbours' words about one. So the grade comes from some seventy symmetric features of two profiles: likeness of
meaning at the levels of text, sentence and token (the last weighted by rarity, after BERTScore, Zhang et al. 2020),
shared and unshared rare characters, agreement of the matters, and mentions that meet or clash. nlp/grading.py
makes a grade of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray
from scipy.special import softmax

from nlp.artefact import load_trained
from nlp.contracts import Comparison, Conflict, Context, Encoding, FloatArray
from nlp.document import Document
from nlp.grading import RELATIONS, Array, Grading, Trees
from nlp.mentions import Found, MentionFinder, Mentions, any_same, conflicts, opposed, same_name
from nlp.similar import MAX_SENTENCES, matching_sentences

TASK = "pairs"
MENTIONS = Path("matching") / "matching.tsv"
_WORD = regex.compile(r"[\u4e00-\u9fff]{2,}")
_BREAK = regex.compile(r"[\W_]+")
_FIGURE = regex.compile(r"\d+(?:\.\d+)?")
# Words of refusal, whatever they refuse: one text has them, the other does not.
_REFUSAL = regex.compile(
    r"反对|不同意|不赞[成同]|不支持|千万(?:不要|别)|坚决不|请(?:求|你们)?不要|"
    r"(?:别|不要)再?(?:拆|建|修|关|停|搬|取消|延|装|改|动|让|恢复|启用|开)|"
    r"不[妥宜应该得]|保留|维持|继续(?:保持|封|禁|全面)|暂缓|缓一缓|叫停|停止(?:恢复|审批|施工|建设)|慎重|不可行|没必要|"
    r"不能(?:因为|再)|凭什么|取消|撤销|拆[除掉]|关停|收回|禁止|缩短|下调|降低|提前(?:收|关|至|到)|换掉"
)
# A token whose best counterpart is less alike than this has none.
_UNMATCHED = 0.45
# The rarest tokens of a very long text stand for it: bounds the table of token pairs to some 10 MB.
_MAX_TOKENS = 1500
# Character groups in so few background texts are as good as names.
_RARE = 2


@dataclass(frozen=True)
class Background:
    """In how many of ``texts`` background texts each character, pair and triple stands; those below ``_RARE`` left out.

    What everybody writes says little about whether two texts mean the same thing.
    """

    counts: Mapping[str, int]
    texts: int

    def idf(self, gram: str) -> float:
        """Inverse document frequency, smoothed, in nats; greatest for what the background never has."""
        return math.log((self.texts + 1) / (self.counts.get(gram, 0) + 1))


def grams(text: str, n: int) -> frozenset[str]:
    """Groups of n neighbouring characters, punctuation and spaces parting them."""
    words = _BREAK.split(text)
    return frozenset(word[k : k + n] for word in words for k in range(len(word) - n + 1))


@dataclass(frozen=True)
class Profile:
    """What is compared of one text; made once for each.

    kept: places of the n tokens that are compared, mean (d,): the mean token state; weights (n,): rarity of each token;
    sentences: float32 (m, d); matters (K,): how probable each matter is; grams: characters, pairs and triples of the
    text with their idf; rare: the pairs, and the triples, that hardly any background text has, such as names.
    """

    document: Document
    encoding: Encoding
    mentions: Mentions
    kept: NDArray[np.int64]
    mean: FloatArray
    weights: Array
    sentences: FloatArray
    matters: Array
    grams: tuple[dict[str, float], ...]
    rare: tuple[frozenset[str], ...]

    @property
    def tokens(self) -> FloatArray:
        """float32 (n, d), token states less the mean state, rows L2 = 1; made anew, as it would double the profile."""
        centred = self.encoding.tokens[self.kept] - self.mean
        return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6), dtype=np.float32)

    @cached_property
    def text(self) -> str:
        """The normalised text."""
        return self.document.normalised.text

    @cached_property
    def gram_weights(self) -> tuple[float, ...]:
        """The sums of the idf of the grams, never 0."""
        return tuple(sum(some.values()) + 1e-6 for some in self.grams)

    @cached_property
    def heaviest(self) -> NDArray[np.bool_]:
        """(n,): the rarer half of the tokens."""
        return self.weights >= np.median(self.weights)

    @cached_property
    def words(self) -> frozenset[str]:
        """Chinese words of two characters and more."""
        return frozenset(token.text for token in self.document.tokens if _WORD.fullmatch(token.text))

    @cached_property
    def figures(self) -> frozenset[str]:
        """Arabic numbers."""
        return frozenset(_FIGURE.findall(self.text))

    @cached_property
    def refusals(self) -> int:
        """Words of refusal."""
        return len(_REFUSAL.findall(self.text))


class Profiler:
    """Makes Profiles. Stateless after construction.

    token_mean: float32 (d,), the mean token state; matter_weights (d, K), matter_bias (K,): a linear reading of the
    base vector as matters.
    """

    def __init__(
        self,
        mentions: MentionFinder,
        background: Background,
        token_mean: FloatArray,
        matter_weights: FloatArray,
        matter_bias: FloatArray,
    ) -> None:
        self.background = background
        self.token_mean = token_mean
        self.matter_weights = matter_weights
        self.matter_bias = matter_bias
        self._mentions = mentions

    def __call__(self, document: Document, encoding: Encoding) -> Profile:
        """The profile of a document and its encoding."""
        text = document.normalised.text
        idf = [self.background.idf(c) for c in text]
        weights = np.array([float(np.mean(idf[a:b])) if b > a else 0.0 for a, b in encoding.spans]) + 1e-6
        kept = np.sort(np.argsort(-weights, kind="stable")[:_MAX_TOKENS])
        longest = sorted(sorted(document.sentences, key=lambda s: s[0] - s[1])[:MAX_SENTENCES])
        sentences = np.stack([encoding.pool(a, b) for a, b in longest] or [encoding.vector])
        matters = softmax(encoding.vector @ self.matter_weights + self.matter_bias)
        background = self.background
        weighed = tuple({gram: background.idf(gram) for gram in sorted(grams(text, n))} for n in (1, 2, 3))
        rare = (
            frozenset(gram for gram in weighed[1] if background.counts.get(gram, 0) <= _RARE),
            frozenset(gram for gram in weighed[2] if gram not in background.counts),
        )
        return Profile(
            document, encoding, self._mentions(document), kept, self.token_mean, weights[kept], sentences,
            matters.astype(np.float64), weighed, rare,
        )  # fmt: skip


def features(a: Profile, b: Profile, background: Background) -> dict[str, float]:
    """Symmetric features of two texts, by name; see the functions below for their meaning."""
    found = {
        **_meaning(a, b),
        **_wording(a, b, background),
        **_rare(a, b),
        **_named(a.mentions, b.mentions),
        **_counted(a, b),
        **_stance(a, b),
        **_size(a, b),
    }
    return found | _together(found)


def _together(found: Mapping[str, float]) -> dict[str, float]:
    """Likeness where nothing clashes, and copies: near-copies are one matter, unless they name two places."""
    clashes = (
        (found["names_clash"] > found["names_met"])
        + (found["numbers_clash"] > found["numbers_met"])
        + (found["years_clash"] > 0)
        + (found["district_clash"] > 0)
        + (found["opposed"] < 0)
    )
    clean = float(clashes == 0)
    contained = max(0.0, found["grams3_of_lighter"] - 0.8) * 5
    return {
        "clashes": float(clashes), "clean": clean, "clean_covered": clean * found["covered_least"],
        "contained": contained, "clean_contained": clean * contained,
        "whole": contained * float(found["bare_least"] == 0),
        "stems_and_covered": found["stems_share"] * found["covered_least"],
        "rare_and_covered": found["rare_pairs_share"] * found["covered_least"],
    }  # fmt: skip


def _meaning(a: Profile, b: Profile) -> dict[str, float]:
    """Cosines of texts, sentences and tokens; how much of each text has a counterpart; agreement of matters."""
    tokens = a.tokens @ b.tokens.T
    best = tokens.max(axis=1), tokens.max(axis=0)
    covered = [float(s @ p.weights / p.weights.sum()) for s, p in zip(best, (a, b), strict=True)]
    bare = [float((s < _UNMATCHED) @ p.weights / p.weights.sum()) for s, p in zip(best, (a, b), strict=True)]
    worst = [float(np.sort(s[p.heaviest])[:3].mean()) for s, p in zip(best, (a, b), strict=True)]
    sentences = a.sentences @ b.sentences.T
    rows, columns = sentences.max(axis=1), sentences.max(axis=0)
    return {
        "cosine": float(a.encoding.vector @ b.encoding.vector),
        "covered_least": min(covered), "covered_most": max(covered),
        "bare_least": min(bare), "bare_most": max(bare),
        "worst_least": min(worst), "worst_most": max(worst),
        "sentence_best": float(sentences.max()),
        "sentences_least": float(min(rows.mean(), columns.mean())),
        "sentences_most": float(max(rows.mean(), columns.mean())),
        "sentence_worst": float(max(rows.min(), columns.min())),
        "first_to_first": float(sentences[0, 0]), "last_to_last": float(sentences[-1, -1]),
        "first_to_last": float(max(sentences[0, -1], sentences[-1, 0])),
        "matters_dot": float(a.matters @ b.matters),
        "matters_bhattacharyya": float(np.sqrt(a.matters * b.matters).sum()),
        "same_matter": float(a.matters.argmax() == b.matters.argmax()),
    }  # fmt: skip


def _wording(a: Profile, b: Profile, background: Background) -> dict[str, float]:
    """Characters and words in common, weighted by rarity: share of the lighter text, of the heavier, and sum."""
    found: dict[str, float] = {}
    for n, (x, y) in enumerate(zip(a.grams, b.grams, strict=True), 1):
        fewer, more = sorted((x, y), key=len)
        shared, both = sum(fewer[g] for g in fewer if g in more), (a.gram_weights[n - 1], b.gram_weights[n - 1])
        found |= {f"grams{n}_of_lighter": shared / min(both), f"grams{n}_of_heavier": shared / max(both)}
        found[f"grams{n}_shared"] = shared
    words = a.words & b.words
    found["words_of_all"] = len(words) / max(1, len(a.words | b.words))
    found["words_of_fewer"] = _share(words, a.words, b.words)
    found["rarest_word"] = max((background.idf(w) if len(w) <= 3 else 8.0 for w in words), default=0.0)
    return found


def _rare(a: Profile, b: Profile) -> dict[str, float]:
    """Pairs and triples that hardly any text has, such as names: shared by both?"""
    (a2, a3), (b2, b3) = a.rare, b.rare
    return {
        "rare_pairs": float(len(a2 & b2)), "rare_pairs_share": _share(a2 & b2, a2, b2),
        "rare_pairs_fewer": float(min(len(a2), len(b2))),
        "new_triples": float(len(a3 & b3)), "new_triples_share": _share(a3 & b3, a3, b3),
    }  # fmt: skip


def _named(a: Mentions, b: Mentions) -> dict[str, float]:
    """Places and names: known on both sides, met, missed."""
    places = [
        [any(same_name(x, y) for y in other) for x in own]
        for own, other in ((a.places, b.places), (b.places, a.places))
    ]
    missed = [len(p) - sum(p) for p in places]
    ends = [s for s in a.names if s in b.names]
    met = sum(bool(a.names[s].keys() & b.names[s].keys()) for s in ends)
    stems = a.stems & b.stems
    district = any_same(a.districts, b.districts)
    objects = any_same(a.objects, b.objects)
    return {
        "places_both": float(all(places)), "places_met": float(any(places[0])), "places_missed": float(min(missed)),
        "places_share": sum(sum(p) / len(p) if p else -0.1 for p in places),
        "district_met": float(district), "district_clash": float(bool(a.districts and b.districts) and not district),
        "objects_met": float(objects), "objects_clash": float(bool(a.objects and b.objects) and not objects),
        "objects_share": _share(a.objects.keys() & b.objects.keys(), a.objects, b.objects),
        "names_met": float(met), "names_clash": float(len(ends) - met), "stems": float(len(stems)),
        "stems_share": _share(stems, a.stems, b.stems), "stems_fewer": float(min(len(a.stems), len(b.stems), 4)),
        "stems_missed": float(min(len(a.stems - b.stems), len(b.stems - a.stems))),
    }  # fmt: skip


def _counted(a: Profile, b: Profile) -> dict[str, float]:
    """Numbers by unit, years, figures: met or clashing."""
    x, y = a.mentions, b.mentions
    numbers, amounts = _met_and_clashing(x.numbers, y.numbers), _met_and_clashing(x.amounts, y.amounts)
    years = x.years.keys() & y.years.keys()
    return {
        "numbers_met": numbers[0], "numbers_clash": numbers[1], "amounts_met": amounts[0], "amounts_clash": amounts[1],
        "years_met": float(bool(years)), "years_clash": float(bool(x.years and y.years) and not years),
        "year_on_one_side": float(bool(x.years) != bool(y.years)),
        "figures_share": _share(a.figures & b.figures, a.figures, b.figures),
        "figures_both": float(bool(a.figures) and bool(b.figures)),
    }  # fmt: skip


def _stance(a: Profile, b: Profile) -> dict[str, float]:
    """Leaning for and against, in groups of opposite words and in words of refusal."""
    products = opposed(a.mentions, b.mentions)
    crossed = [
        min(len(f), len(q)) + min(len(g), len(p))
        for (f, g), (p, q) in zip(a.mentions.stances, b.mentions.stances, strict=True)
    ]
    return {
        "opposed": min(products), "leanings": sum(products), "crossed": float(max(crossed)),
        "refusals_apart": float(abs(a.refusals - b.refusals)), "refusals_most": float(max(a.refusals, b.refusals)),
        "refusals_least": float(min(a.refusals, b.refusals)),
        "refusal_on_one_side": float(bool(a.refusals) != bool(b.refusals)),
    }  # fmt: skip


def _size(a: Profile, b: Profile) -> dict[str, float]:
    """Lengths, as logarithms of characters."""
    x, y = math.log(1 + len(a.text)), math.log(1 + len(b.text))
    return {"length_apart": abs(x - y), "length_least": min(x, y), "length_most": max(x, y)}


def _share(shared: Iterable[str], a: Iterable[str], b: Iterable[str]) -> float:
    """How much of the smaller set both have."""
    return len(list(shared)) / max(1, min(len(list(a)), len(list(b))))


def _met_and_clashing(a: Mapping[str, Found], b: Mapping[str, Found]) -> tuple[float, float]:
    units = [unit for unit in a if unit in b]
    met = sum(bool(a[unit].keys() & b[unit].keys()) for unit in units)
    return float(met), float(len(units) - met)


class PairModel:
    """Grades pairs of texts. Stateless after construction."""

    def __init__(self, profiler: Profiler, grading: Grading, names: Sequence[str], name: str) -> None:
        self.profiler = profiler
        self.grading = grading
        self.features = tuple(names)
        self.name = name

    def profile(self, document: Document, encoding: Encoding) -> Profile:
        """What is compared of a text: made once, it serves every comparison."""
        return self.profiler(document, encoding)

    def compare(self, a: Profile, b: Profile, context: Context) -> Comparison:
        """The grade of two texts. Identical texts are always duplicates; the two sides may be swapped."""
        p = self.probabilities([(a, b)], context)[0]
        relation = RELATIONS[int(p.argmax())]
        found: tuple[Conflict, ...] = ()
        if relation == "related":
            found = conflicts(a.document, a.mentions, b.document, b.mentions)
        shared = () if relation == "unrelated" else matching_sentences(a.document, a.encoding, b.document, b.encoding)
        return Comparison(relation, float(p[0]), float(p[1]), float(p[2]), found, shared)

    def probabilities(self, pairs: Sequence[tuple[Profile, Profile]], context: Context) -> Array:
        """float64 (n, 3): P(duplicate), P(related), P(unrelated), rows summing to 1; identical texts (1, 0, 0)."""
        found = self.grading.probabilities(matrix(pairs, self.features, self.profiler.background), context)
        found[[a.text == b.text for a, b in pairs]] = np.eye(len(RELATIONS))[0]
        return found


def matrix(pairs: Sequence[tuple[Profile, Profile]], names: Sequence[str], background: Background) -> Array:
    """float64 (n, F): the features of pairs, columns by name."""
    found = [features(a, b, background) for a, b in pairs]
    return np.array([[row[name] for name in names] for row in found]).reshape(len(pairs), len(names))


def load_pair_model(path: Path, corpora: Path, encoder_id: str) -> PairModel:
    """Load a verified model folder; raises ArtefactError naming the file, also for another encoder."""
    artefact = load_trained(path, TASK, encoder_id)
    w = artefact.weights
    counts = dict(zip(artefact.vocabulary, w["counts"].tolist(), strict=True))
    background = Background(counts, int(artefact.meta["background_texts"]))
    trees = Trees(**{name: w[f"trees:{name}"] for name in Trees.__dataclass_fields__})
    sources = tuple(artefact.meta["sources"])
    grading = Grading(sources, w["weights"], w["bias"], w["centre"], w["scale"], trees)
    profiler = Profiler(
        MentionFinder(corpora / MENTIONS, counts), background, w["token_mean"].astype(np.float32),
        w["matter_weights"].astype(np.float32), w["matter_bias"].astype(np.float32),
    )  # fmt: skip
    return PairModel(profiler, grading, artefact.meta["features"], artefact.name)
