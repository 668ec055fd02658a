"""The loaded models behind one thread: everything that analyses text goes through here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from nlp.contracts import Classification, Encoder, Encoding, FloatArray, SentenceMatch, Span
from nlp.document import Analyser, Document
from nlp.encoder import load_encoder
from nlp.errors import InputError, MinshengError
from nlp.screening import UrgencyScreen
from nlp.similar import matching_sentences, nearest
from nlp.taxonomy import Taxonomy, load_taxonomy
from nlp.themes import ThemeModel, load_theme_model
from service.settings import Settings
from service.store import Analysis, Store, Stored, Submission

T = TypeVar("T")
_LOG = logging.getLogger("minsheng")
# Texts a forward pass takes at once: bounds the memory for token states.
_BATCH = 32
_SELF_CHECK = "小区门口的路灯坏了半个月没人修"
SELF_CHECK_SECONDS = 30


class QueueFull(MinshengError):
    """More requests wait than the queue holds."""


@dataclass(frozen=True)
class Models:
    """Everything that analyses text. ``create_app`` takes them, so that tests can bring their own."""

    analyser: Analyser
    encoder: Encoder
    themes: ThemeModel
    taxonomy: Taxonomy
    urgency: UrgencyScreen


@dataclass(frozen=True)
class Analysed:
    """A document with its encoding and answer."""

    document: Document
    encoding: Encoding
    classification: Classification
    urgent: Span | None


@dataclass(frozen=True)
class Similar:
    """A stored submission near the query: cosine, and the sentence pairs that match (query first)."""

    stored: Stored
    document: Document
    score: float
    matches: tuple[SentenceMatch, ...]


def load_models(settings: Settings) -> Models:
    """Load what the settings name; raises DataError or ArtefactError naming the file."""
    if settings.threads:
        import torch  # noqa: PLC0415  (heavy)

        torch.set_num_threads(settings.threads)
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    analyser = Analyser(settings.corpora, settings.max_chars)
    encoder = load_encoder(settings.encoder)
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id)
    urgency = UrgencyScreen(settings.corpora / "screening" / "urgent.tsv")
    return Models(analyser, encoder, themes, themes.taxonomy, urgency)


class Engine:
    """One worker thread that owns the encoder, behind a bounded queue."""

    def __init__(self, models: Models, queue_size: int) -> None:
        self.models = models
        self._places = threading.BoundedSemaphore(queue_size)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self._vectors: tuple[int, list[int], FloatArray] | None = None
        self.last_check: float | None = None

    def close(self) -> None:
        """Finish what is queued and stop the thread."""
        self._worker.shutdown()

    def run(self, work: Callable[[], T]) -> T:
        """Do ``work`` on the encoder's thread and wait for it; raises QueueFull instead of waiting for a place."""
        if not self._places.acquire(blocking=False):
            raise QueueFull("正在处理的请求已满，请稍后再试")
        try:
            future: Future[T] = self._worker.submit(work)
            return future.result()
        finally:
            self._places.release()

    def self_check(self) -> bool:
        """Classify one sentence; True and a fresh ``last_check`` where the answer is sound."""
        try:
            [answer] = self.run(lambda: self.analyse([(None, _SELF_CHECK)]))
        except QueueFull:  # busy is not ill: the last check stands
            return True
        except Exception:
            _LOG.exception("self-check failed")
            return False
        sound = (
            isinstance(answer, Analysed) and abs(sum(t.probability for t in answer.classification.themes) - 1) < 1e-6
        )
        if sound:
            self.last_check = time.monotonic()
        return sound

    def analyse(self, items: Sequence[tuple[object, object]]) -> list[Analysed | InputError]:
        """Answers for (title, text) pairs, in order; an item that cannot be analysed gives its error.

        Call on the encoder's thread only (through ``run``).
        """
        answers: list[Analysed | InputError] = []
        for start in range(0, len(items), _BATCH):
            answers += self._analyse_batch(items[start : start + _BATCH])
        return answers

    def _analyse_batch(self, items: Sequence[tuple[object, object]]) -> list[Analysed | InputError]:
        read: list[Document | InputError] = []
        for title, text in items:
            try:
                read.append(self.models.analyser(text, title))
            except InputError as error:
                read.append(error)
        encodings = iter(self.models.encoder.encode([d.normalised.text for d in read if isinstance(d, Document)]))
        answers: list[Analysed | InputError] = []
        for document in read:
            if isinstance(document, InputError):
                answers.append(document)
            else:
                encoding = next(encodings)
                classification = self.models.themes.classify(document, encoding)
                answers.append(Analysed(document, encoding, classification, self.models.urgency(document)))
        return answers

    def similar(self, store: Store, document: Document, encoding: Encoding, limit: int) -> list[Similar]:
        """The stored submissions nearest to a document, with matching sentences. On the encoder's thread only."""
        keys, matrix = self._matrix(store)
        neighbours = nearest(encoding.vector, keys, matrix, limit)
        stored = {s.id: s for s in store.get_many([n.key for n in neighbours])}
        found = [(stored[n.key], n.score) for n in neighbours if n.key in stored]
        documents = [self.models.analyser(s.submission.text, s.submission.title) for s, _ in found]
        encodings = self.models.encoder.encode([d.normalised.text for d in documents])
        return [
            Similar(s, other, score, matching_sentences(document, encoding, other, other_encoding))
            for (s, score), other, other_encoding in zip(found, documents, encodings, strict=True)
        ]

    def _matrix(self, store: Store) -> tuple[list[int], FloatArray]:
        """All stored vectors, read again only after something was stored."""
        stamp = store.stamp()
        if self._vectors is None or self._vectors[0] != stamp:
            self._vectors = (stamp, *store.vectors(self.models.encoder.encoder_id))
        return self._vectors[1], self._vectors[2]


def analysis_of(analysed: Analysed, result: dict[str, Any]) -> Analysis:
    """What the store keeps of an answer; ``result`` is the answer as plain data."""
    c = analysed.classification
    return Analysis(c.model, c.primary, c.matter, c.confidence, c.decision, result, analysed.encoding.vector)


def store_batch(
    engine: Engine, store: Store, batch: Sequence[Submission], render: Callable[[Analysed], dict[str, Any]], actor: str
) -> list[tuple[int, str] | InputError]:
    """Analyse and store submissions in one transaction; (id, outcome) or the item's error, in order.

    Unchanged submissions are not analysed again. On the encoder's thread only.
    """
    known = [store.outcome(s) == "unchanged" for s in batch]
    answers = iter(engine.analyse([(s.title, s.text) for s, same in zip(batch, known, strict=True) if not same]))
    prepared: list[tuple[Submission, Analysis | None] | InputError] = []
    for submission, same in zip(batch, known, strict=True):
        answer = None if same else next(answers)
        if isinstance(answer, InputError):
            prepared.append(answer)
        else:
            prepared.append((submission, analysis_of(answer, render(answer)) if answer else None))
    rows = [item for item in prepared if not isinstance(item, InputError)]
    outcomes = iter(store.add(rows, engine.models.encoder.encoder_id, actor))
    return [item if isinstance(item, InputError) else next(outcomes) for item in prepared]
