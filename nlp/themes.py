"""The theme model: one decision over matters, from which themes, secondary themes, evidence and doubt follow.

Two linear models — multinomial logistic regression on the encoder's vector and on TF-IDF of jieba terms — are combined
as a logarithmic opinion pool (Genest & Zidek 1986): the weighted sum of their logits, with weights fitted on
out-of-fold outputs, so that the sum is calibrated as well as combined. The priors of life are put in place of the
corpus's (Saerens et al. 2002). A theme's probability is the sum over its matters. Evidence is the change in log-odds
when a clause is left out of both representations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, logsumexp
from sklearn.feature_extraction.text import TfidfVectorizer

from nlp.artefact import Artefact, load_trained
from nlp.contracts import Classification, Encoding, Evidence, FloatArray, MatterScore, Span, ThemeScore
from nlp.document import Document
from nlp.errors import ArtefactMismatch
from nlp.taxonomy import Taxonomy, load_taxonomy

TASK = "themes"
TAXONOMY_FILE = "taxonomy.toml"
_WORD = regex.compile(r"[\p{L}\p{N}]+")
_CLAUSE = regex.compile(r"[^，。！？!?；;、,\n…：:\s]+")
# Clauses of courtesy carry no matter.
_COURTESY = regex.compile(
    r"(?:尊敬的|敬爱的|亲爱的|各位).{0,12}|.{0,8}[您你]们?好|.{0,2}(?:领导|书记|[省市县区镇乡局厅]长|主任)|"
    r"(?:非常|十分)?(?:谢谢|感谢).{0,3}|(?:您|领导)?辛苦了|此致|敬礼|祝.{0,2}工作顺利|(?:我的|本人)?(?:联系)?(?:电话|手机).{0,4}[\d\-]{7,}"
)
_MAX_CLAUSE = 40
_CANDIDATE_CLAUSES = 40
_EVIDENCE = 5
_KEYWORDS = 6
# Fewer words than this say too little to decide on: 「停车」「你好」.
_MIN_WORDS = 3

# Share of the title's own words in the vector: a sentence by the submitter that says what it is about.
_TITLE = np.float32(0.5)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """A document as the theme model sees it, in training and in use alike.

    Clauses of courtesy (greeting, thanks, signature) are taken out of vector and words, unless little else would be
    left: a greeting alone would pull a short message towards “nothing said”. The title's words weigh as much as the
    whole text.

    vector: float32 (d,), L2 = 1; words in order; located: the same with their stretches of the normalised text;
    clauses: the stretches that may be evidence; shares: float32 (len(clauses), d), additive in ``vector``.
    """

    vector: FloatArray
    words: list[str]
    located: list[tuple[str, int, int]]
    clauses: list[tuple[int, int]]
    shares: FloatArray


def _located_terms(document: Document) -> list[tuple[str, int, int]]:
    """Words of the document with their stretches of the normalised text, in order.

    Lower case; digits become ``#``; words inside place names and personal numbers are dropped, or the model would learn
    where and who, not what.
    """
    hidden = (*(e for e in document.entities if e.label == "PLACE"), *document.codes)
    return [(regex.sub(r"\d+", "#", word), start, end) for word, start, end in _words(document, hidden)]


def _words(document: Document, hidden: Sequence[Span]) -> list[tuple[str, int, int]]:
    """Lower-case words that begin outside the ``hidden`` stretches, with their own, in order."""
    covered = np.zeros(len(document.title) + 1 + len(document.text) + 1, dtype=bool)
    for span in hidden:
        shift = document.body_start if span.field == "text" else 0
        covered[shift + span.start : shift + span.end] = True
    return [
        (token.text.lower(), token.start, token.end)
        for token in document.tokens
        if _WORD.fullmatch(token.text) and not covered[document.normalised.starts[token.start]]
    ]


def search_terms(document: Document) -> list[str]:
    """The words a search goes by, in order: those of the theme model with places and numbers kept.

    “Where” and “which” tell one matter from another. Personal numbers and courtesies are left out alike.
    """
    located = _words(document, document.codes)
    courtesies = [(a, b) for a, b in _clauses(document) if _COURTESY.fullmatch(document.normalised.text[a:b])]
    return [word for word, _, _ in _demand(located, courtesies)]


def _demand(located: list[tuple[str, int, int]], courtesies: list[tuple[int, int]]) -> list[tuple[str, int, int]]:
    """The words outside the courtesies; all of them where little else is said: then it does count."""
    kept = [(t, s, e) for t, s, e in located if not any(a <= s < b for a, b in courtesies)]
    return kept if len(kept) >= _MIN_WORDS else located


def with_bigrams(words: list[str]) -> list[str]:
    """Words and pairs of neighbours: the analyser of the TF-IDF model."""
    return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]


def vectorizer(**options: object) -> TfidfVectorizer:
    """TF-IDF over lists of words: sublinear counts, smoothed idf, rows L2 = 1."""
    return TfidfVectorizer(analyzer=with_bigrams, sublinear_tf=True, dtype=np.float32, **options)


@dataclass(frozen=True)
class Parameters:
    """The fitted numbers. K matters, d encoder dimensions, V terms, T themes.

    encoder_weights (d, K), encoder_bias (K,), term_weights (V, K), term_bias (K,), idf (V,), pool (2,) — weights of
    encoder and term logits; presence (K + 1, T) — logistic regression from matter logits to “this theme is also
    asked for”, last row the intercept; presence_threshold and accept_threshold in [0, 1].
    """

    encoder_weights: FloatArray
    encoder_bias: FloatArray
    term_weights: FloatArray
    term_bias: FloatArray
    idf: FloatArray
    pool: Array
    presence: Array
    presence_threshold: float
    accept_threshold: float


class ThemeModel:
    """Classifies documents. Stateless after construction; ``matters`` is the order of every (…, K) array."""

    def __init__(
        self, taxonomy: Taxonomy, matters: Sequence[str], vocabulary: list[str], parameters: Parameters, name: str
    ) -> None:
        self.taxonomy = taxonomy
        self.matters = tuple(matters)
        self.name = name
        self.parameters = parameters
        self._vectorizer = vectorizer(vocabulary=vocabulary)
        self._vectorizer.idf_ = parameters.idf
        self.vocabulary = vocabulary
        self._known = frozenset(vocabulary)
        self.themes = tuple(theme.id for theme in taxonomy.themes)
        theme_of = [self.themes.index(taxonomy.matter_by_id[matter].theme) for matter in self.matters]
        self._theme_of = np.array(theme_of)
        self._shift = prior_shift(taxonomy, self.matters)

    def logits(self, vectors: FloatArray, term_lists: Sequence[list[str]]) -> Array:
        """float64 (n, K): the pooled logits, priors included, of n texts given vectors (n, d) and words."""
        return self._logits(vectors, self._vectorizer.transform(term_lists))

    def _logits(self, vectors: FloatArray, features: csr_matrix) -> Array:
        p = self.parameters
        encoder = vectors @ p.encoder_weights + p.encoder_bias
        lexical = features @ p.term_weights + p.term_bias
        return np.asarray(p.pool[0] * encoder + p.pool[1] * lexical + self._shift, dtype=np.float64)

    def theme_log_probabilities(self, logits: Array) -> Array:
        """float64 (n, T): log P(theme), summed over the matters that count under it."""
        log_p = log_softmax(logits, axis=1)
        columns = [
            logsumexp(log_p[:, self._theme_of == t], axis=1)
            if (self._theme_of == t).any()
            else np.full(len(log_p), -np.inf)
            for t in range(len(self.themes))
        ]
        return np.stack(columns, axis=1)

    def classify(self, document: Document, encoding: Encoding) -> Classification:
        """The full answer for one document and its encoding."""
        reading = read(document, encoding)
        words = reading.words
        features = self._vectorizer.transform([words])
        logits = self._logits(reading.vector[None], features)
        probabilities = np.exp(self.theme_log_probabilities(logits))[0]
        matter_p = np.exp(log_softmax(logits[0]))
        order = np.argsort(-probabilities, kind="stable")
        primary = int(order[0])
        # The matter must count under the theme that is answered, also when single matters elsewhere score higher.
        matter = max(np.flatnonzero(self._theme_of == primary), key=lambda k: matter_p[k])
        confidence = float(probabilities[primary])
        reason = self._doubt(words, self.matters[matter], order, probabilities)
        return Classification(
            primary=self.themes[primary],
            confidence=confidence,
            decision="review" if reason else "accept",
            reason=reason,
            matter=self.matters[matter],
            secondary=self._secondary(logits[0], primary),
            themes=tuple(ThemeScore(self.themes[t], float(probabilities[t])) for t in order),
            matters=tuple(self._matter_score(int(k), matter_p) for k in np.argsort(-matter_p, kind="stable")[:5]),
            evidence=self._evidence(document, reading, logits, primary),
            keywords=self._keywords(features),
            unknown_words=sum(word not in self._known for word in words) / len(words) if words else None,
            model=self.name,
        )

    def _matter_score(self, k: int, probabilities: Array) -> MatterScore:
        return MatterScore(self.matters[k], self.themes[self._theme_of[k]], float(probabilities[k]))

    def _doubt(self, words: list[str], matter: str, order: NDArray[np.int64], probabilities: Array) -> str | None:
        """Why a person should look, in the words of the office; None where the answer may be accepted."""
        name = {t.id: t.name for t in self.taxonomy.themes}
        if len(words) < _MIN_WORDS:
            return "内容过短，无法判断"
        if self.taxonomy.matter_by_id[matter].insufficient:
            return "看不出具体事项，无法判断"
        first, second = (f"{name[self.themes[t]]} {probabilities[t]:.0%}" for t in order[:2])
        if probabilities[order[0]] < self.parameters.accept_threshold:
            return f"把握不足：{first}，{second}"
        return None

    def _secondary(self, logits: Array, primary: int) -> tuple[str, ...]:
        p = self.parameters
        present = 1 / (1 + np.exp(-(log_softmax(logits) @ p.presence[:-1] + p.presence[-1])))
        chosen = [t for t in np.argsort(-present, kind="stable") if t != primary and present[t] >= p.presence_threshold]
        return tuple(self.themes[t] for t in chosen[:2])

    def _keywords(self, features: csr_matrix) -> tuple[str, ...]:
        row = features[0]
        ranked = sorted(zip(-row.data, row.indices, strict=True))
        names = (self.vocabulary[index] for _, index in ranked)
        words = (n for n in names if " " not in n and "#" not in n and len(n) > 1)
        return tuple(word for word, _ in zip(words, range(_KEYWORDS), strict=False))

    def _evidence(self, document: Document, reading: Reading, logits: Array, theme: int) -> tuple[Evidence, ...]:
        """The clauses whose removal costs the theme most: removed from the vector and from the word list."""
        clauses, removed = reading.clauses, reading.shares
        if not clauses:
            return ()
        if len(clauses) > _CANDIDATE_CLAUSES:  # a long letter: look closely only where the encoder's share is large
            direction = self.parameters.encoder_weights[:, self._theme_of == theme].mean(axis=1)
            best = np.sort(np.argsort(-(removed @ direction), kind="stable")[:_CANDIDATE_CLAUSES])
            clauses, removed = [clauses[i] for i in best], removed[best]
        rest = reading.vector - removed
        rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)  # nothing may be left at all
        words = [[t for t, s, e in reading.located if e <= a or s >= b] for a, b in clauses]
        without = self._log_odds(self.logits(rest, words), theme)
        weights = self._log_odds(logits, theme)[0] - without
        found = []
        for i in np.argsort(-weights, kind="stable")[:_EVIDENCE]:
            if weights[i] <= 0:
                break
            start, end = clauses[i]
            span = document.span(start, end, self.themes[theme])
            found.append(Evidence(span.field, span.start, span.end, span.text, span.label, float(weights[i])))
        return tuple(found)

    def _log_odds(self, logits: Array, theme: int) -> Array:
        log_p = log_softmax(logits, axis=1)
        mine = self._theme_of == theme
        return np.asarray(logsumexp(log_p[:, mine], axis=1) - logsumexp(log_p[:, ~mine], axis=1))


def read(document: Document, encoding: Encoding) -> Reading:
    """What the theme model sees of a document: see Reading."""
    located = _located_terms(document)
    clauses = _clauses(document)
    text = document.normalised.text
    polite = np.array([_COURTESY.fullmatch(text[a:b]) is not None for a, b in clauses], dtype=bool)
    courtesies = [clause for clause, flag in zip(clauses, polite, strict=True) if flag]
    kept = _demand(located, courtesies)
    if kept is located:
        polite[:] = False
    vector, shares = _titled(document, encoding, clauses)
    vector = vector - shares[polite].sum(axis=0)
    norm = np.float32(max(float(np.linalg.norm(vector)), 1e-6))
    wanted = [clause for clause, flag in zip(clauses, polite, strict=True) if not flag]
    return Reading(vector / norm, [t for t, _, _ in kept], kept, wanted, shares[~polite] / norm)


def _titled(document: Document, encoding: Encoding, clauses: list[tuple[int, int]]) -> tuple[FloatArray, FloatArray]:
    """The base vector drawn half-way towards the title's own words, and each clause's share in it (n, d)."""
    shares = encoding.sums(clauses) * np.float32(encoding.scale)
    end = int(np.searchsorted(document.normalised.starts, document.body_start)) if document.title else 0
    [title] = encoding.sums([(0, end)])
    norm = float(np.linalg.norm(title))
    if not norm:
        return encoding.vector, shares
    pull = np.array([start < end for start, _ in clauses], dtype=np.float32) / np.float32(norm * encoding.scale)
    vector = (1 - _TITLE) * encoding.vector + _TITLE * title / np.float32(norm)
    return vector, shares * ((1 - _TITLE) + _TITLE * pull[:, None])


def _clauses(document: Document) -> list[tuple[int, int]]:
    """Stretches of the normalised text between punctuation; over-long ones cut at token boundaries."""
    clauses: list[tuple[int, int]] = []
    starts = {token.start for token in document.tokens}
    for match in _CLAUSE.finditer(document.normalised.text):
        start = match.start()
        while match.end() - start > _MAX_CLAUSE:
            cut = next(
                (c for c in range(start + _MAX_CLAUSE, start + _MAX_CLAUSE // 2, -1) if c in starts),
                start + _MAX_CLAUSE,
            )
            clauses.append((start, cut))
            start = cut
        clauses.append((start, match.end()))
    return clauses


def prior_shift(taxonomy: Taxonomy, matters: Sequence[str]) -> Array:
    """float64 (K,): what to add to logits of balanced training, so that themes come as often as in life (Bayes).

    Balanced means that every matter is equally frequent; the matters of one theme stay so. Zero where the taxonomy
    gives no priors.
    """
    themes = [taxonomy.matter_by_id[matter].theme for matter in matters]
    prior = {theme.id: theme.prior for theme in taxonomy.themes}
    if not any(prior.values()):
        return np.zeros(len(matters))
    return np.array([np.log(prior[theme] * len(matters) / themes.count(theme)) for theme in themes])


def load_theme_model(path: Path, taxonomy: Taxonomy, encoder_id: str) -> ThemeModel:
    """Load a verified model folder.

    A folder trained on an office's own labels brings its own taxonomy; the shipped one is read with ``taxonomy``.
    Raises ArtefactError naming the file, also where the model was trained on another encoder.
    """
    artefact = load_trained(path, TASK, encoder_id)
    return _assemble(artefact, _taxonomy_of(artefact, taxonomy))


def _taxonomy_of(artefact: Artefact, shipped: Taxonomy) -> Taxonomy:
    labels = artefact.meta["labels"]
    if artefact.meta["taxonomy"] == "labels":
        return Taxonomy.flat(artefact.meta["priors"])
    taxonomy = load_taxonomy(artefact.path / TAXONOMY_FILE) if artefact.meta["taxonomy"] == "own" else shipped
    unknown = [label for label in labels if label not in taxonomy.matter_by_id]
    if unknown:
        raise ArtefactMismatch(artefact.path, f"主题分类中没有模型所用的细类：{'、'.join(unknown)}")
    return taxonomy


def _presence(artefact: Artefact, taxonomy: Taxonomy) -> Array:
    """The secondary head with its columns in the taxonomy's order; a theme it was not trained on is never secondary."""
    saved: Array = artefact.weights["presence"]
    columns = {theme: saved[:, k] for k, theme in enumerate(artefact.meta["themes"])}
    never = np.append(np.zeros(len(saved) - 1), -20.0)
    return np.stack([columns.get(theme.id, never) for theme in taxonomy.themes], axis=1)


def _assemble(artefact: Artefact, taxonomy: Taxonomy) -> ThemeModel:
    w = artefact.weights
    parameters = Parameters(
        encoder_weights=w["encoder_weights"].astype(np.float32),
        encoder_bias=w["encoder_bias"].astype(np.float32),
        term_weights=w["term_weights"].astype(np.float32),
        term_bias=w["term_bias"].astype(np.float32),
        idf=w["idf"].astype(np.float32),
        pool=w["pool"],
        presence=_presence(artefact, taxonomy),
        presence_threshold=float(artefact.meta["thresholds"]["presence"]),
        accept_threshold=float(artefact.meta["thresholds"]["accept"]),
    )
    return ThemeModel(taxonomy, artefact.meta["labels"], artefact.vocabulary, parameters, artefact.name)


def is_courtesy(sentence: str) -> bool:
    """Whether a sentence is nothing but greeting, thanks or signature (「电话：」 belongs to the number after it)."""
    joined = regex.sub("[：:]", "", sentence)
    return any(all(_COURTESY.fullmatch(c) for c in _CLAUSE.findall(form)) for form in (sentence, joined))
