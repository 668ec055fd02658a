"""The loaded models behind one thread: everything that analyses text goes through here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from nlp.contracts import Classification, Comparison, Encoder, Encoding, PairGrader, Screening
from nlp.document import Analyser, Document
from nlp.encoder import load_encoder
from nlp.errors import InputError, MinshengError
from nlp.matching import load_pair_model
from nlp.routing import Router
from nlp.routing_model import load_history_model
from nlp.screening import Screen, load_screen
from nlp.taxonomy import Taxonomy, load_taxonomy
from nlp.themes import ThemeModel, load_theme_model, search_terms
from nlp.units import load_units
from service.database import StoreError
from service.reanalysis import prepare, switch
from service.search import Filters, Index, matching, set_words, without_words
from service.settings import Settings
from service.store import Analysis, Answer, Outcome, Store, Stored, Submission

T = TypeVar("T")
_LOG = logging.getLogger("minsheng")
# Texts and characters analysed at once: bounds the memory for token states, and the time between signs of life.
_BATCH = 32
_BATCH_CHARS = 20_000
# Similar submissions that are graded; those further down are listed without.
_GRADED = 10
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
    screen: Screen
    pairs: PairGrader
    router: Router


@dataclass(frozen=True)
class Analysed:
    """A document with its encoding and answer."""

    document: Document
    encoding: Encoding
    classification: Classification
    screening: Screening


@dataclass(frozen=True)
class Similar:
    """A stored submission near the query: cosine, and the grade (query first), None for those far down the list."""

    stored: Stored
    score: float
    comparison: Comparison | None


def load_models(settings: Settings) -> Models:
    """Load what the settings name; raises DataError or ArtefactError naming the file."""
    if settings.threads:
        import torch  # noqa: PLC0415  (heavy)

        torch.set_num_threads(settings.threads)
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    analyser = Analyser(settings.corpora, settings.max_chars)
    encoder = load_encoder(settings.encoder)
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id)
    screen = load_screen(settings.screening_model, settings.corpora, encoder.encoder_id)
    pairs = load_pair_model(settings.pair_model, settings.corpora, encoder.encoder_id)
    router = load_router(settings, taxonomy, encoder.encoder_id)
    return Models(analyser, encoder, themes, themes.taxonomy, screen, pairs, router)


def load_router(settings: Settings, taxonomy: Taxonomy, encoder_id: str) -> Router:
    """The responsibility table, keyed on the matters of ``taxonomy``, and the history model where one is set."""
    units = load_units(settings.corpora / "units", taxonomy.matter_by_id.keys())
    history = load_history_model(settings.routing_model, encoder_id) if settings.routing_model else None
    return Router(units, taxonomy, history)


class Engine:
    """One worker thread that owns the encoder, behind a bounded queue."""

    def __init__(self, models: Models, queue_size: int) -> None:
        self.models = models
        self._places = threading.BoundedSemaphore(queue_size)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")
        self.index = Index(models.encoder.encoder_id)  # on the worker's thread only
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

    def aside(self, work: Callable[[], T]) -> T:
        """Do ``work`` on the encoder's thread: it waits its turn behind the queue but takes no user's place in it."""
        return self._worker.submit(work).result()

    def self_check(self) -> bool:
        """Classify one sentence; False, with a line in the log, where the answer is not sound."""
        try:
            [answer] = self.aside(lambda: self.analyse([(None, _SELF_CHECK)]))
        except Exception:
            _LOG.exception("self-check failed")
            return False
        return isinstance(answer, Analysed) and _sound(answer)

    def analyse(self, items: Sequence[tuple[object, object]]) -> list[Analysed | InputError]:
        """Answers for (title, text) pairs, in order; an item that cannot be analysed gives its error.

        Call on the encoder's thread only (through ``run``).
        """
        answers: list[Analysed | InputError] = []
        for batch in _portions(items):
            answers += self._analyse_batch(batch)
            if any(isinstance(answer, Analysed) and _sound(answer) for answer in answers[-len(batch) :]):
                self.last_check = time.monotonic()  # real work is as good a sign of life as the self-check
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
                screening = self.models.screen(document, encoding)
                answers.append(Analysed(document, encoding, classification, screening))
        return answers

    def similar(
        self, store: Store, document: Document, encoding: Encoding, limit: int, filters: Filters | None = None
    ) -> list[Similar]:
        """The stored submissions nearest to a document by vector and words, the first of them graded.

        ``filters`` are applied before ranking: ``limit`` are found where so many pass. On the encoder's thread only.
        """
        allowed = matching(store, filters) if filters else None
        index = self.index.follow(store)
        neighbours = index.search(encoding.vector, search_terms(document), limit, allowed)
        stored = {s.id: s for s in store.get_many([n.key for n in neighbours])}
        found = [(stored[n.key], n.score) for n in neighbours if n.key in stored]
        pairs = self.models.pairs
        mine = pairs.profile(document, encoding)
        graded = self.read([(item.submission.title, item.submission.text) for item, _ in found[:_GRADED]])
        answers = [
            Similar(item, score, pairs.compare(mine, pairs.profile(other, other_encoding), "search"))
            for (item, score), (other, other_encoding) in zip(found, graded, strict=False)
        ]
        answers += [Similar(item, score, None) for item, score in found[_GRADED:]]
        return answers

    def read(self, items: Sequence[tuple[str, str]]) -> list[tuple[Document, Encoding]]:
        """Documents and encodings of (title, text) pairs, in order, not classified. On the encoder's thread only."""
        answers: list[tuple[Document, Encoding]] = []
        for batch in _portions(items):
            documents = [self.models.analyser(text, title) for title, text in batch]
            encodings = self.models.encoder.encode([document.normalised.text for document in documents])
            answers += zip(documents, encodings, strict=True)
        return answers


def _sound(answer: Analysed) -> bool:
    return abs(sum(t.probability for t in answer.classification.themes) - 1) < 1e-6


def _portions(items: Sequence[tuple[object, object]]) -> Iterator[Sequence[tuple[object, object]]]:
    """Consecutive items, at most _BATCH and about _BATCH_CHARS of them together."""
    portion: list[tuple[object, object]] = []
    size = 0
    for item in items:
        length = sum(len(part) for part in item if isinstance(part, str))
        if portion and (len(portion) == _BATCH or size + length > _BATCH_CHARS):
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += length
    if portion:
        yield portion


def analysis_of(analysed: Analysed, result: dict[str, Any]) -> Analysis:
    """What the store keeps of an answer; ``result`` is the answer as plain data."""
    c = analysed.classification
    vector, words = analysed.encoding.vector, search_terms(analysed.document)
    judged = c.model, c.primary, c.matter, c.confidence, c.decision
    return Analysis(*judged, result, vector, words, c.unknown_words)


def require_vectors(store: Store, encoder_id: str) -> None:
    """Raise StoreError where stored submissions lack vectors of this encoder: they could not be found."""
    lacking = len(store.without_vector(encoder_id))
    if lacking:
        raise StoreError(f"有 {lacking} 件材料没有当前编码器（{encoder_id}）的向量，请先执行 minsheng reindex")


def lacking(store: Store, encoder_id: str) -> tuple[list[int], list[int]]:
    """Numbers of the submissions without a vector of this encoder, and of the others without words."""
    vectors = store.without_vector(encoder_id)
    return vectors, sorted(set(without_words(store)) - set(vectors))


def reindex(engine: Engine, store: Store, render: Callable[[Analysed], dict[str, Any]]) -> Iterator[int]:
    """Analyse again what lacks a vector of the current encoder, and add the words that are lacking.

    The new analyses are prepared beside the old ones, which stay in use until all are there; then they take their
    place in one transaction. What an interrupted run prepared is not done again. Yields how many are done. On the
    encoder's thread.
    """
    encoder_id = engine.models.encoder.encoder_id
    _, wordless = lacking(store, encoder_id)
    numbers = store.without_vector(encoder_id, prepared=True)
    for start in range(0, len(numbers), _BATCH):
        items = store.get_many(numbers[start : start + _BATCH])
        answers = engine.analyse([(item.submission.title, item.submission.text) for item in items])
        done = [(i, analysis_of(a, render(a))) for i, a in zip(items, answers, strict=True) if isinstance(a, Analysed)]
        prepare(store, done, encoder_id)
        yield start + len(items)
    switch(store, encoder_id)
    for start in range(0, len(wordless), _BATCH):
        items = store.get_many(wordless[start : start + _BATCH])
        found: dict[int, list[str]] = {}
        for item in items:
            with suppress(InputError):  # longer than the limit is now: it stays among those that lack something
                document = engine.models.analyser(item.submission.text, item.submission.title)
                found[item.id] = search_terms(document)
        set_words(store, found)
        yield len(numbers) + start + len(items)


Settle = Callable[[sa.Connection, list[Answer]], list[Answer]]


def store_batch(
    engine: Engine,
    store: Store,
    batch: Sequence[Submission],
    render: Callable[[Analysed], dict[str, Any]],
    actor: str,
    settle: Settle = lambda connection, answers: answers,
) -> list[Answer]:
    """Analyse and store submissions in one transaction; (id, outcome) or the item's error, in order.

    Unchanged submissions are not analysed again, erased ones not at all. ``settle`` does what else belongs to the
    transaction, and may change the answer. On the encoder's thread only.
    """
    answers = analyse_changed(engine, store, batch)
    return store_analysed(store, engine.models.encoder.encoder_id, batch, answers, render, actor, settle)


def analyse_changed(engine: Engine, store: Store, batch: Sequence[Submission]) -> list[Analysed | InputError | None]:
    """Answers for submissions, in order; None for those not analysed: unchanged or erased. On the encoder's thread."""
    # An identity that comes twice in a batch is judged against what the first one will leave behind: analyse it.
    seen: set[tuple[str, str]] = set()
    known = []
    for submission in batch:
        identity = (submission.source, submission.external_id)
        known.append(identity not in seen and store.foresee(submission)[1] in {"unchanged", "erased"})
        seen.add(identity)
    answers = iter(engine.analyse([(s.title, s.text) for s, same in zip(batch, known, strict=True) if not same]))
    return [None if same else next(answers) for same in known]


def store_analysed(
    store: Store,
    encoder_id: str,
    batch: Sequence[Submission],
    answers: Sequence[Analysed | InputError | None],
    render: Callable[[Analysed], dict[str, Any]],
    actor: str,
    settle: Settle = lambda connection, answers: answers,
) -> list[Answer]:
    """The second half of ``store_batch``: store what ``analyse_changed`` answered."""
    prepared: list[tuple[Submission, Analysis | None] | InputError] = []
    for submission, answer in zip(batch, answers, strict=True):
        if isinstance(answer, InputError):
            prepared.append(answer)
        else:
            prepared.append((submission, analysis_of(answer, render(answer)) if answer else None))
    settled: list[Answer] = []

    def finish(connection: sa.Connection, outcomes: Sequence[tuple[int, Outcome]]) -> None:
        done = iter(outcomes)
        settled.extend(settle(connection, [i if isinstance(i, InputError) else next(done) for i in prepared]))

    rows = [item for item in prepared if not isinstance(item, InputError)]
    store.add(rows, encoder_id, actor, finish)
    return settled
