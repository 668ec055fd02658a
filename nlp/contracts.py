"""Results that pass between the stages, and the seams the heavy parts enter through.

Offsets are Python code points. ``Span`` offsets of a ``Document`` refer to the text as submitted (``document.text``);
``Token`` offsets refer to ``document.normalised``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nlp.document import Document
    from nlp.matching import Profile

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Field = Literal["title", "text"]
Decision = Literal["accept", "review"]
Relation = Literal["duplicate", "related", "unrelated"]
# How two texts came to be compared: somebody put them side by side, or a search brought them together.
Context = Literal["compare", "search"]
ConflictKind = Literal["place", "object", "polarity", "number", "time"]


@dataclass(frozen=True)
class Token:
    """A piece of the normalised text: ``document.normalised[start:end] == text``."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Span:
    """A labelled stretch of one field: ``getattr(document, field)[start:end] == text``."""

    field: Field
    start: int
    end: int
    text: str
    label: str
    canonical: str | None = None
    district: str | None = None


@dataclass(frozen=True)
class Encoding:
    """One forward pass over one text.

    vector: float32 (dim,), L2 = 1 — the base vector that is stored and compared.
    tokens: float32 (n, dim) — contextual states of the n content tokens (no prefix, no special tokens).
    spans:  int64 (n, 2) — where each token stands in the encoded text.
    scale:  a token state times ``scale`` is its additive share of ``vector`` (exact for mean pooling).
    """

    vector: FloatArray
    tokens: FloatArray
    spans: IntArray
    scale: float

    def sums(self, stretches: Sequence[tuple[int, int]]) -> FloatArray:
        """float32 (len(stretches), dim): the sum of the token states that touch each stretch [start, end)."""
        totals = np.concatenate([np.zeros((1, self.tokens.shape[1])), np.cumsum(self.tokens, axis=0, dtype=np.float64)])
        starts, ends = np.array(stretches, dtype=np.int64).reshape(-1, 2).T
        first = np.searchsorted(self.spans[:, 1], starts, side="right")
        last = np.searchsorted(self.spans[:, 0], ends, side="left")
        return np.asarray(totals[np.maximum(last, first)] - totals[first], dtype=np.float32)

    def pool(self, start: int, end: int) -> FloatArray:
        """Mean of the token states inside [start, end), L2 = 1; the base vector where no token falls inside."""
        inside = (self.spans[:, 0] < end) & (self.spans[:, 1] > start)
        if not inside.any():
            return self.vector
        mean: FloatArray = self.tokens[inside].mean(axis=0)
        return mean / np.float32(np.linalg.norm(mean))


class Encoder(Protocol):
    """Turns texts into vectors. ``encoder_id`` changes whenever its vectors could."""

    encoder_id: str
    dimension: int

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """One Encoding a text, in order; list in, list out, also for none."""
        ...


@dataclass(frozen=True)
class ThemeScore:
    """A theme id with its probability in [0, 1]."""

    theme: str
    probability: float


@dataclass(frozen=True)
class MatterScore:
    """A matter id, its theme, and its probability in [0, 1]."""

    matter: str
    theme: str
    probability: float


@dataclass(frozen=True)
class Evidence:
    """A stretch of the submission and the change in log-odds of ``theme`` it accounts for."""

    field: Field
    start: int
    end: int
    text: str
    theme: str
    weight: float


@dataclass(frozen=True)
class Classification:
    """The model's answer for one document.

    themes: every theme, descending, summing to 1; matters: the five most probable; secondary: at most two theme ids.
    unknown_words: the share of the words that the model does not know, in [0, 1]; None where there are no words.
    ``primary`` is never null: out of scope is ``other``, undecided is ``decision == "review"`` with a ``reason``.
    """

    primary: str
    confidence: float
    decision: Decision
    reason: str | None
    matter: str
    secondary: tuple[str, ...]
    themes: tuple[ThemeScore, ...]
    matters: tuple[MatterScore, ...]
    evidence: tuple[Evidence, ...]
    keywords: tuple[str, ...]
    unknown_words: float | None
    model: str


@dataclass(frozen=True)
class Neighbour:
    """A stored text and its cosine similarity in [-1, 1]; item and score travel together."""

    key: int
    score: float


@dataclass(frozen=True)
class SentenceMatch:
    """The best matching sentence pair of two texts; offsets into each text as submitted."""

    a: Span
    b: Span
    score: float


@dataclass(frozen=True)
class Conflict:
    """What makes two similar texts two matters: a mention in each that cannot be the same thing."""

    kind: ConflictKind
    a: Span
    b: Span


@dataclass(frozen=True)
class Comparison:
    """The grade of two texts: duplicate (建议并案), related (供参阅) or unrelated.

    probabilities: calibrated, (duplicate, related, unrelated), summing to 1; ``relation`` is the most probable.
    Symmetric: comparing (b, a) gives the same grade with every pair turned round.
    """

    relation: Relation
    duplicate: float
    related: float
    unrelated: float
    conflicts: tuple[Conflict, ...]
    shared: tuple[SentenceMatch, ...]


class PairGrader(Protocol):
    """Grades two texts. ``name`` changes whenever its grades could."""

    name: str

    def profile(self, document: Document, encoding: Encoding) -> Profile:
        """What is compared of a text: made once, it serves every comparison."""
        ...

    def compare(self, a: Profile, b: Profile, context: Context) -> Comparison:
        """The grade of two texts, with its reasons; identical texts are always duplicate."""
        ...

    def probabilities(self, pairs: Sequence[tuple[Profile, Profile]], context: Context) -> NDArray[np.float64]:
        """float64 (n, 3): P(duplicate), P(related), P(unrelated) of many pairs, without the reasons."""
        ...


@dataclass(frozen=True)
class Flag:
    """A reason to send a submission another way: what it is, the sentence that says so, and where it belongs."""

    kind: str
    span: Span
    channel: str


@dataclass(frozen=True)
class Screening:
    """What a submission is, apart from its theme.

    urgent: the sentence that makes it so; kind: 诉求类型, with its probability in [0, 1] and the sentence that
    speaks for it most; flags: at most one of a kind.
    """

    urgent: Span | None
    kind: str
    confidence: float
    cue: Span
    flags: tuple[Flag, ...]
