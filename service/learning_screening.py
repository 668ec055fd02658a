"""Training and evaluation of the screening model from files: ``train screening`` and ``evaluate screening``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlp.artefact import check_target
from nlp.contracts import Encoder
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import file_sha256
from nlp.errors import DataError
from nlp.screening import TASK, load_screen
from nlp.screening_training import Case, load_cases, read, save_screen, score_screen, train_screen
from service.learning import Report, papers_of
from service.settings import Settings

# Background texts beyond this teach nothing more; they are taken at even steps, and their beginnings suffice.
_BACKGROUND = 1000
_BEGINNING = 300


def train_screening_model(
    data: Sequence[Path], background: Sequence[Path], out: Path, settings: Settings, report: Report, command: str
) -> dict[str, Any]:
    """Train on case files and write the model folder ``out``; returns counts, thresholds and out-of-fold scores."""
    check_target(out, TASK)
    cases = load_cases(data)
    items = load_corpus(background)
    quiet = [f"{i.title}\n{i.text}"[:_BEGINNING].strip() for i in items[:: max(1, len(items) // _BACKGROUND)]]
    analyser, encoder = _readers(settings)
    texts = read([*(case.text for case in cases), *quiet], analyser, encoder, report)
    parameters, scores = train_screen(cases, texts[: len(cases)], texts[len(cases) :])
    papers = papers_of([*data, *background], cases, command)
    save_screen(parameters, scores, out, encoder_id=encoder.encoder_id, papers=papers)
    return {
        "model": str(out),
        "cases": len(cases),
        "background": len(quiet),
        "thresholds": parameters.thresholds,
        "out_of_fold": scores,
    }


def evaluate_screening_model(files: Sequence[Path], settings: Settings, report: Report) -> dict[str, Any]:
    """Scores of the configured screening model on case files."""
    cases: list[Case] = load_cases(files)
    if not cases:
        raise DataError(files[0], "文件中没有材料")
    analyser, encoder = _readers(settings)
    screen = load_screen(settings.screening_model, settings.corpora, encoder.encoder_id)
    answers = [screen(*one) for one in read([case.text for case in cases], analyser, encoder, report)]
    return {
        "files": {path.name: file_sha256(path) for path in files},
        "model": screen.name,
        "encoder": encoder.encoder_id,
        "scores": score_screen(cases, answers),
    }


def _readers(settings: Settings) -> tuple[Analyser, Encoder]:
    return Analyser(settings.corpora, settings.max_chars), load_encoder(settings.encoder)
