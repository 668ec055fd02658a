"""What an office's own history says of who leads: two linear models and the responsibility table, pooled.

Logits of the encoder's vector, logits of TF-IDF over search terms and the log of what the table says are summed with
weights fitted on out-of-fold outputs (a logarithmic opinion pool, Genest & Zidek 1986), so that the sum is calibrated
as well as combined. Units too rare to learn share one class, ``REST``; what falls to it is the table's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from nlp.artefact import load_trained
from nlp.contracts import FloatArray
from nlp.themes import vectorizer

TASK = "routing"
REST = ""
# What the table does not name is unlikely, not impossible.
_FLOOR = 0.01

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RoutingParameters:
    """K labels, d encoder dimensions, V terms: weights (d, K) and (V, K), biases (K,), idf (V,); pool (3,) — weights
    of encoder, terms and table."""

    encoder_weights: FloatArray
    encoder_bias: FloatArray
    term_weights: FloatArray
    term_bias: FloatArray
    idf: FloatArray
    pool: Array


class HistoryModel:
    """P(lead) learned from history. ``labels``: lead keys (see ``nlp.routing_table.lead_key``), REST for the rare ones.

    Below ``threshold`` it should not be followed.
    """

    def __init__(
        self, labels: Sequence[str], vocabulary: list[str], parameters: RoutingParameters, threshold: float, name: str
    ) -> None:
        self.labels = tuple(labels)
        self.vocabulary = vocabulary
        self.parameters = parameters
        self.threshold = threshold
        self.name = name
        self._vectorizer = vectorizer(vocabulary=vocabulary)
        self._vectorizer.idf_ = parameters.idf

    def scores(self, vector: FloatArray, terms: list[str], table: Mapping[str, float]) -> dict[str, float]:
        """Lead key → probability, descending; sums to at most 1.

        vector: float32 (d,), the base vector; terms: the search terms; table: lead key → share. What falls to the rare
        units is spread over those the table names.
        """
        p = self.parameters
        encoder = vector @ p.encoder_weights + p.encoder_bias
        lexical = (self._vectorizer.transform([terms]) @ p.term_weights + p.term_bias)[0]
        opinions = np.stack([encoder, lexical, table_opinion(self.labels, table)])
        return spread(self.labels, softmax(p.pool @ opinions.astype(np.float64)), table)


def table_opinion(labels: Sequence[str], table: Mapping[str, float]) -> Array:
    """float64 (K,): log of the table's share of each label; REST takes all that is no label."""
    rest = sum(share for key, share in table.items() if key not in labels)
    return np.log([_FLOOR + (rest if label == REST else table.get(label, 0.0)) for label in labels])


def spread(labels: Sequence[str], probabilities: Array, table: Mapping[str, float]) -> dict[str, float]:
    """Label probabilities (K,) as lead key → probability, descending, REST spread as the table spreads it."""
    found = {label: float(p) for label, p in zip(labels, probabilities, strict=True) if label != REST}
    rare = {key: share for key, share in table.items() if key not in labels}
    if REST in labels and rare:
        mass = float(probabilities[list(labels).index(REST)]) / sum(rare.values())
        found |= {key: mass * share for key, share in rare.items()}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def load_history_model(path: Path, encoder_id: str) -> HistoryModel:
    """Load a verified model folder; raises an ArtefactError naming the file, also for another encoder."""
    artefact = load_trained(path, TASK, encoder_id, "转办模型")
    w = artefact.weights
    single = ("encoder_weights", "encoder_bias", "term_weights", "term_bias", "idf")
    parameters = RoutingParameters(**{n: w[n].astype(np.float32) for n in single}, pool=w["pool"])
    return HistoryModel(
        artefact.meta["labels"], artefact.vocabulary, parameters, float(artefact.meta["threshold"]), artefact.name
    )
