"""Whether a topic rises: distinct submitters of the last window against those before, tested against chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import hypergeom

Verdict = Literal["rising", "steady", "falling", "too_few"]
# Below so many submitters in both windows together no share of them would be telling.
MIN_VOICES = 5
# Chance may call so many of the topics that are said to rise or fall (Benjamini & Hochberg 1995).
FALSE_DISCOVERY = 0.05


@dataclass(frozen=True)
class Counts:
    """Distinct submitters in the last window and in the time before, of a topic or of everything."""

    recent: int
    before: int


@dataclass(frozen=True)
class Trend:
    """``ratio``: share of all submitters, last window over before, add-half smoothed; None where nothing compares.

    ``p``: two-sided, in [0, 1]; ``q``: the least false discovery rate at which it would be called (None: too few).
    """

    verdict: Verdict
    ratio: float | None
    p: float | None
    q: float | None


def trends(topics: Sequence[Counts], total: Counts) -> list[Trend]:
    """A verdict for each topic, in order.

    Under chance a topic's submitters fall into the windows as all submitters do (conditional test, hypergeometric), so
    that a busy month raises nobody; many topics are asked at once, so p-values are corrected for it.
    """
    tested = [
        i for i, own in enumerate(topics) if total.recent and total.before and own.recent + own.before >= MIN_VOICES
    ]
    up = {i: _tail(topics[i], total) for i in tested}
    down = {i: _tail(_turned(topics[i]), _turned(total)) for i in tested}
    p = {i: min(1.0, 2 * min(up[i], down[i])) for i in tested}
    q = dict(zip(tested, benjamini_hochberg([p[i] for i in tested]), strict=True))
    found = []
    for i, own in enumerate(topics):
        if i not in q:
            found.append(Trend("too_few", None, None, None))
            continue
        called = q[i] <= FALSE_DISCOVERY
        verdict: Verdict = "steady" if not called else "rising" if up[i] < down[i] else "falling"
        ratio = ((own.recent + 0.5) / (total.recent + 1)) / ((own.before + 0.5) / (total.before + 1))
        found.append(Trend(verdict, ratio, p[i], q[i]))
    return found


def _tail(own: Counts, total: Counts) -> float:
    """P(so many or more of the topic's submitters in the last window) under chance."""
    everyone, drawn = total.recent + total.before, own.recent + own.before
    return float(hypergeom.sf(own.recent - 1, everyone, total.recent, drawn))


def _turned(counts: Counts) -> Counts:
    return Counts(counts.before, counts.recent)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (q), in the order given."""
    if not p:
        return []
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return [float(value) for value in q]
