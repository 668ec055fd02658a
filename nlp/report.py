"""The evaluation report: one self-contained HTML page, charts drawn as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

_TEMPLATES = Path(__file__).with_name("reports")
_BINS = 10


def render_report(
    kind: str,
    result: Mapping[str, Any],
    names: Mapping[str, str],
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> str:
    """The page for a result of ``evaluate <kind>``; ``confidence`` and ``right`` are (n,), in file order."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    labels = [entry["label"] for entry in result["scores"]["per_label"]]
    return environment.get_template(f"{kind}.html").render(
        result=result,
        scores=result["scores"],
        names=names,
        labels=labels,
        largest=max((max(row) for row in result["scores"]["confusion"]), default=1) or 1,
        reliability=reliability(confidence, right),
        coverage=coverage_curve(confidence, right),
    )


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Sequence[tuple[float, float, int]]:
    """(mean confidence, accuracy, n) over bins of equal mass, ascending."""
    bins = np.array_split(np.argsort(confidence, kind="stable"), _BINS)
    return [(float(confidence[b].mean()), float(right[b].mean()), len(b)) for b in bins if len(b)]


def coverage_curve(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Sequence[tuple[float, float]]:
    """(coverage, accuracy) when only the most confident answers are accepted, by 5 % steps."""
    order = np.argsort(-confidence, kind="stable")
    counts = sorted({max(1, round(len(order) * share)) for share in np.linspace(0.05, 1, 20)})
    return [(count / len(order), float(right[order[:count]].mean())) for count in counts]
