"""Similar texts: exact nearest neighbours over base vectors, and the sentences that match."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nlp.contracts import Encoding, FloatArray, Neighbour, SentenceMatch, Span
from nlp.document import Document

# Shorter sentences (greetings, thanks) match everywhere and explain nothing.
_MIN_SENTENCE = 6
_MAX_MATCHES = 3
# Sentences a side: bounds the pairs; the longest are kept, in order.
_MAX_SENTENCES = 100


def nearest(query: FloatArray, keys: Sequence[int], matrix: FloatArray, limit: int) -> list[Neighbour]:
    """The ``limit`` rows most similar to ``query``.

    query float32 (d,), matrix float32 (n, d), rows L2 = 1; scores in [-1, 1], descending, ties by position. Exact.
    """
    if not len(keys) or limit <= 0:
        return []
    scores = matrix @ query
    limit = min(limit, len(keys))
    # A stable sort of the candidates only; everything that ties with the last one is a candidate.
    cut = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    candidates = np.flatnonzero(scores >= cut)
    best = candidates[np.argsort(-scores[candidates], kind="stable")][:limit]
    return [Neighbour(int(keys[i]), float(scores[i])) for i in best]


def matching_sentences(
    a: Document, a_encoding: Encoding, b: Document, b_encoding: Encoding
) -> tuple[SentenceMatch, ...]:
    """The best one-to-one pairs of sentences of two texts, most similar first, at most three.

    The score is the cosine of the sentence vectors weighted by the words they share: vectors pooled from one pass
    carry their whole text, and only the words tell which sentence of it is meant.
    """
    left, right = _sentences(a, a_encoding), _sentences(b, b_encoding)
    scored = [
        (float(va @ vb) * (0.5 + 0.5 * _containment(sa.text, sb.text)), i, j)
        for i, (sa, va) in enumerate(left)
        for j, (sb, vb) in enumerate(right)
    ]
    matches: list[SentenceMatch] = []
    used_left: set[int] = set()
    used_right: set[int] = set()
    for score, i, j in sorted(scored, key=lambda item: (-item[0], item[1], item[2])):
        if i in used_left or j in used_right:
            continue
        matches.append(SentenceMatch(left[i][0], right[j][0], score))
        used_left.add(i)
        used_right.add(j)
        if len(matches) == _MAX_MATCHES:
            break
    return tuple(matches)


def _sentences(document: Document, encoding: Encoding) -> list[tuple[Span, FloatArray]]:
    spans = [(document.span(start, end, "SENTENCE"), encoding.pool(start, end)) for start, end in document.sentences]
    body = [(span, vector) for span, vector in spans if span.field == "text"]
    chosen = [item for item in body if len(item[0].text) >= _MIN_SENTENCE] or body
    longest = sorted(range(len(chosen)), key=lambda k: -len(chosen[k][0].text))[:_MAX_SENTENCES]
    return [chosen[k] for k in sorted(longest)]


def _containment(a: str, b: str) -> float:
    """Share of the shorter sentence's character pairs found in the other: a short demand inside a long sentence."""
    left, right = ({s[i : i + 2] for i in range(len(s) - 1)} for s in (a, b))
    return len(left & right) / max(1, min(len(left), len(right)))
