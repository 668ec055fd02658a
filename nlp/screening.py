"""Screening: what is urgent, what kind of request it is, and what belongs in another channel.

Eleven linear readings of the encoder's base vector: urgency, six kinds, four flags. A text is urgent where the text or
any one of its sentences is, so that a cry for help at the end of a long letter is heard. The words that say so are the
sentence that speaks most for the answer. Which channel a flag points to is data (``channels.tsv``).

Nothing told of the past alone is urgent: before urgency is read, sentences are left out all of whose clauses are placed
in the past, and none tells of what is, recurs or is to come. A linear reading of the vector hears the fire only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from scipy.special import expit, softmax

from nlp.artefact import load_trained
from nlp.contracts import Encoding, Flag, FloatArray, Screening
from nlp.document import Document
from nlp.errors import ArtefactMismatch, DataError
from nlp.lexicon import rows

TASK = "screening"
CHANNELS = Path("screening") / "channels.tsv"
URGENT = "紧急"
KINDS = ("咨询", "求助", "投诉", "举报", "建议", "表扬")
FLAGS = ("涉法涉诉", "指名举报", "个人事项", "内容空泛")
# The columns of the weights, in order.
READINGS = (URGENT, *KINDS, *FLAGS)
_KIND = slice(1, 1 + len(KINDS))
# A sentence alone must speak louder than a whole text (by this much log-odds), and be this long: in a letter of twenty
# sentences some 「走了。」 always sounds like something.
_LOUDER = 1.5
_HEARD = 8
_PAST = regex.compile(
    "去年|前年|往年|早年|当年|那年|以前|从前|曾|[0-9一二三四五六七八九十两几多]年前|后来|当时|那时|幸亏|好在"
)
# In doubt a sentence counts as of now: an alarm missed costs more than one too many.
_PRESENT = regex.compile(
    "[今昨明现刚正还又再仍的]|目前|眼[下看]|至今|一直|开始|以来|随时|马上|天天|每天|这[几两些]天|快|越来越|就|要|会|"
    "着(?![火过了])|[不没未无]|[求救怕！]|威胁|扬言"
)
Stretch = tuple[int, int]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """The fitted numbers: weights (d, 11) and bias (11,) on unit vectors, in the order of ``READINGS``.

    thresholds: the least probability at which urgency and each flag stand.
    """

    weights: Array
    bias: Array
    thresholds: dict[str, float]

    def scores(self, vectors: FloatArray) -> Array:
        """float64 (n, 11) of (n, d) vectors: log-odds of urgency and flags, logits of kinds."""
        return np.asarray(vectors.astype(np.float64) @ self.weights + self.bias)


def urgency(document: Document, encoding: Encoding, weights: Array, bias: float) -> float:
    """P(urgent) in [0, 1]: of the text, or of its loudest sentence where that is more; 0 where all of it is past."""
    present, past = told(document)
    if past and not present:
        return 0.0
    whole = encoding.vector
    if past:
        whole = whole - encoding.sums(past).sum(axis=0) * np.float32(encoding.scale)
        whole /= np.float32(max(float(np.linalg.norm(whole)), 1e-6))
    vectors = [whole, *(encoding.pool(a, b) for a, b in present if b - a >= _HEARD)]
    scores = np.stack(vectors).astype(np.float64) @ weights + bias
    return float(expit(max(scores[0], scores[1:].max(initial=-np.inf) - _LOUDER)))


def told(document: Document) -> tuple[list[Stretch], list[Stretch]]:
    """The sentences that tell of now, or may, and those that tell of the past alone, each in order."""
    text = document.normalised.text
    present: list[Stretch] = []
    past: list[Stretch] = []
    for a, b in document.sentences:
        clauses = regex.findall(r"[^，,；;：:。\s]+", text[a:b])
        placed = clauses and all(_PAST.search(clause) for clause in clauses)
        (past if placed and not _PRESENT.search(text, a, b) else present).append((a, b))
    return present, past


class Channels:
    """Flag and text → channel."""

    def __init__(self, path: Path) -> None:
        """Read the list; raises DataError naming file and line."""
        self._rules: dict[str, list[tuple[Any, str]]] = {flag: [] for flag in FLAGS}
        for line, row in rows(path, ("flag", "pattern", "channel")):
            if row["flag"] not in self._rules:
                raise DataError(path, f"flag 是 {row['flag']!r}，应为 {'、'.join(FLAGS)} 之一", line)
            if not row["channel"]:
                raise DataError(path, "channel 为空", line)
            try:
                self._rules[row["flag"]].append((regex.compile(row["pattern"]), row["channel"]))
            except regex.error as error:
                raise DataError(path, f"{row['pattern']!r} 不是有效的正则表达式：{error}", line) from error
        lacking = [flag for flag, rules in self._rules.items() if not rules or rules[-1][0].pattern]
        if lacking:
            raise DataError(path, f"{'、'.join(lacking)} 的最后一行应不写 pattern，作为其余情形的渠道")

    def __call__(self, flag: str, text: str) -> str:
        """The channel of the first rule found in the text; the last rule holds for any."""
        return next(channel for pattern, channel in self._rules[flag] if pattern.search(text))


class Screen:
    """Screens submissions. Stateless after construction."""

    def __init__(self, parameters: Parameters, channels: Channels, name: str) -> None:
        self.parameters = parameters
        self.name = name
        self._channels = channels

    def __call__(self, document: Document, encoding: Encoding) -> Screening:
        """The screening of a document and its encoding."""
        sentences = np.stack([encoding.vector, *(encoding.pool(*stretch) for stretch in document.sentences)])
        scores = self.parameters.scores(sentences)
        _, past = told(document)
        # The row of the sentence that speaks most for each reading.
        spoken = scores[1:].copy()
        spoken[[s in past for s in document.sentences], READINGS.index(URGENT)] = -np.inf
        best = [int(i) for i in spoken.argmax(axis=0)]

        def said(reading: str, label: str) -> Any:
            return document.span(*document.sentences[best[READINGS.index(reading)]], label)

        thresholds, whole = self.parameters.thresholds, scores[0]
        urgent = (
            urgency(document, encoding, self.parameters.weights[:, 0], self.parameters.bias[0]) >= thresholds[URGENT]
        )
        kinds = softmax(whole[_KIND])
        kind = KINDS[int(kinds.argmax())]
        flags = tuple(
            Flag(flag, said(flag, "FLAG"), self._channels(flag, document.normalised.text))
            for flag in FLAGS
            if expit(whole[READINGS.index(flag)]) >= thresholds[flag]
        )
        span = said(URGENT, "URGENT") if urgent else None
        return Screening(span, kind, float(kinds.max()), said(kind, "KIND"), flags)


def load_screen(path: Path, corpora: Path, encoder_id: str) -> Screen:
    """Load a verified model folder; raises ArtefactError or DataError naming the file, also for another encoder."""
    artefact = load_trained(path, TASK, encoder_id)
    if artefact.meta["labels"] != list(READINGS):
        raise ArtefactMismatch(path, f"模型的标签应为 {'、'.join(READINGS)}，实为 {'、'.join(artefact.meta['labels'])}")
    w = artefact.weights
    parameters = Parameters(w["weights"].astype(np.float64), w["bias"], artefact.meta["thresholds"])
    return Screen(parameters, Channels(corpora / CHANNELS), artefact.name)
