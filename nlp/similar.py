"""Similar texts: exact nearest neighbours over base vectors, and the sentences that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlp.contracts import Encoding, FloatArray, Neighbour, SentenceMatch, Span
from nlp.document import Document
from nlp.retrieval import best
from nlp.themes import is_courtesy

# Shorter sentences (greetings, thanks) match everywhere and explain nothing.
_MIN_SENTENCE = 6
_MAX_MATCHES = 3
# Sentences a side: bounds the pairs; the longest are kept, in order.
MAX_SENTENCES = 100
# Below this a sentence has no good counterpart.
_SAID = 0.6


def nearest(query: FloatArray, keys: Sequence[int], matrix: FloatArray, limit: int) -> list[Neighbour]:
    """The ``limit`` rows most similar to ``query``.

    query float32 (d,), matrix float32 (n, d), rows L2 = 1; scores in [-1, 1], descending, ties by key. Exact.
    """
    if not len(keys) or limit <= 0:
        return []
    return best(matrix @ query, np.asarray(keys, dtype=np.int64), limit)


def matching_sentences(
    a: Document, a_encoding: Encoding, b: Document, b_encoding: Encoding
) -> tuple[SentenceMatch, ...]:
    """The best one-to-one pairs of sentences of two texts, most similar first, at most three.

    The score is the cosine of the sentence vectors weighted by the words they share: vectors pooled from one pass
    carry their whole text, and only the words tell which sentence of it is meant.
    """
    left, right = _sentences(a, a_encoding), _sentences(b, b_encoding)
    scored = [(_score(x, y), i, j) for i, x in enumerate(left) for j, y in enumerate(right)]
    matches: list[SentenceMatch] = []
    used_left: set[int] = set()
    used_right: set[int] = set()
    for score, i, j in sorted(scored, key=lambda item: (-item[0], item[1], item[2])):
        if i in used_left or j in used_right:
            continue
        matches.append(SentenceMatch(left[i].span, right[j].span, score))
        used_left.add(i)
        used_right.add(j)
        if len(matches) == _MAX_MATCHES:
            break
    return tuple(matches)


def added_sentences(
    lead: Document, lead_encoding: Encoding, member: Document, member_encoding: Encoding
) -> tuple[Span, ...]:
    """The sentences of ``member`` that say what ``lead`` does not, in order; greetings and thanks left out.

    A sentence counts as said where one of the lead's is like it (cosine weighted by the share of *its* words found
    there, at least ``_SAID``). A long sentence around a known demand is therefore an addition, as a whole.
    """
    theirs = _sentences(lead, lead_encoding)
    added = []
    for mine in _sentences(member, member_encoding):
        said = max((_score(mine, other, one_way=True) for other in theirs), default=0.0)
        if said < _SAID and not is_courtesy(mine.span.text):
            added.append(mine.span)
    return tuple(added)


@dataclass(frozen=True)
class _Sentence:
    """A sentence, its vector float32 (d,), L2 = 1, and the pairs of neighbouring characters in it."""

    span: Span
    vector: FloatArray
    pairs: frozenset[str]


def _score(a: _Sentence, b: _Sentence, *, one_way: bool = False) -> float:
    """Cosine in [-1, 1] times 0.5 to 1 for the share of character pairs found in the other.

    The shorter sentence's share, a short demand inside a long sentence; ``one_way``: a's share.
    """
    whole = len(a.pairs) if one_way else min(len(a.pairs), len(b.pairs))
    return float(a.vector @ b.vector) * (0.5 + 0.5 * len(a.pairs & b.pairs) / max(1, whole))


def _sentences(document: Document, encoding: Encoding) -> list[_Sentence]:
    spans = [(document.span(start, end, "SENTENCE"), start, end) for start, end in document.sentences]
    body = [item for item in spans if item[0].field == "text"]
    chosen = [item for item in body if len(item[0].text) >= _MIN_SENTENCE] or body
    longest = sorted(range(len(chosen)), key=lambda k: -len(chosen[k][0].text))[:MAX_SENTENCES]
    return [
        _Sentence(
            span, encoding.pool(start, end), frozenset(a + b for a, b in zip(span.text, span.text[1:], strict=False))
        )
        for span, start, end in (chosen[k] for k in sorted(longest))
    ]
