"""Training and evaluation of routing from files: what ``train routing`` and ``evaluate routing`` do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlp.artefact import check_target
from nlp.corpus import Labelled
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import file_sha256
from nlp.errors import DataError, InputError
from nlp.evaluation import bootstrap, label_scores
from nlp.normalise import validate
from nlp.pii import mask
from nlp.report import render_report
from nlp.routing import Proposal
from nlp.routing_model import REST, TASK
from nlp.routing_table import lead_key
from nlp.routing_training import as_figures, save_routing, train_routing
from nlp.taxonomy import load_taxonomy
from nlp.themes import load_theme_model, search_terms
from nlp.training import Features, TrainingError
from nlp.units import DISTRICT, OFFICE, Units
from service.corrections import decided
from service.engine import Engine, load_models, load_router
from service.intake import read, read_bytes
from service.learning import Report, papers_of
from service.routing import place_of, propose, today
from service.settings import Settings
from service.sheets import Row

_BATCH = 32
_MOST_ERRORS = 30
_MIN_SHOWN = 5
# How a history may write leads that are no unit of the table.
_ROLES = {"属地": DISTRICT, "district": DISTRICT, "本单位": OFFICE, "人工": OFFICE, "office": OFFICE, "manual": OFFICE}


@dataclass(frozen=True)
class Columns:
    """The columns of a history file; title, district and second (another unit that would do) may be absent."""

    text: str = "text"
    unit: str = "unit"
    title: str | None = None
    district: str | None = None
    second: str | None = None


@dataclass(frozen=True)
class Routed:
    """A text that was routed: ``item.label`` is its lead key; district: where it happened, or None."""

    item: Labelled
    district: str | None


def train_routing_model(
    data: Sequence[Path],
    out: Path,
    columns: Columns,
    settings: Settings,
    report: Report,
    command: str,
    *,
    from_corrections: bool = False,
) -> dict[str, Any]:
    """Train on history files and write the model folder ``out``; returns the out-of-fold scores and the rare units.

    ``from_corrections`` adds the submissions of the store whose unit people decided.

    Needs the theme model of this encoder: what the table says of each text is one of the opinions that are pooled.
    Raises DataError naming file and row, or TrainingError.
    """
    check_target(out, TASK)
    encoder = load_encoder(settings.encoder)
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    router = load_router(settings.model_copy(update={"routing_model": None}), taxonomy, encoder.encoder_id)
    rows = [row for path in data for row in read_history(path, columns, router.units, settings.max_chars)]
    rows += corrected_units(router.units, settings) if from_corrections else []
    if not rows:
        raise TrainingError("没有一行转办历史")
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id)
    analyser = Analyser(settings.corpora, settings.max_chars)
    vectors, terms, tables = [], [], []
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        documents = [analyser(row.item.text, row.item.title) for row in batch]
        encodings = encoder.encode([document.normalised.text for document in documents])
        for row, document, encoding in zip(batch, documents, encodings, strict=True):
            matters = themes.classify(document, encoding).matters
            where = place_of(analyser, row.district, None)
            tables.append(router.read(document, matters, today(), where).leads)
            vectors.append(encoding.vector)
            terms.append(search_terms(document))
        report("编码", len(vectors), len(rows))
    items = [row.item for row in rows]
    trained = train_routing(items, Features(np.stack(vectors), terms), tables, out.name, report)
    save_routing(trained, out, encoder_id=encoder.encoder_id, papers=papers_of(data, items, command))
    names = _names(router.units)
    return {
        "model": str(out),
        "texts": len(items),
        "units": len([label for label in trained.model.labels if label != REST]),
        "left_to_table": {names.get(key, key): count for key, count in trained.rare.items()},
        "out_of_fold": as_figures(trained.scores),
    }


def evaluate_routing_model(
    file: Path, columns: Columns, settings: Settings, report: Report
) -> tuple[dict[str, Any], str]:
    """Scores of the configured routing on a history file, and the report page; raises DataError."""
    engine = Engine(load_models(settings), queue_size=1)
    try:
        units = engine.models.router.units
        rows = read_history(file, columns, units, settings.max_chars)
        if not rows:
            raise DataError(file, "文件中没有材料")
        proposals: list[Proposal] = []
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            pairs = [(row.item.title, row.item.text) for row in batch]
            for row, found in zip(batch, engine.run(lambda pairs=pairs: engine.analyse(pairs)), strict=True):  # type: ignore[misc]
                if isinstance(found, InputError):
                    raise DataError(file, f"{row.item.id}：{found}")
                proposals.append(propose(engine.models, found, row.district, None))
            report("评测", len(proposals), len(rows))
    finally:
        engine.close()
    items = [row.item for row in rows]
    names = _names(units)
    result = {
        "file": file.name,
        "file_sha256": file_sha256(file),
        "model": engine.models.router.history.name if engine.models.router.history else "职责表",
        "encoder": engine.models.encoder.encoder_id,
        "scores": _scores(items, proposals),
        "sources": dict(Counter(proposal.source for proposal in proposals)),
        "errors": _errors(rows, proposals, names),
    }
    confidence = np.array([proposal.probability for proposal in proposals])
    right = np.array([_said(p) == item.label for p, item in zip(proposals, items, strict=True)])
    return json.loads(json.dumps(result)), render_report("routing", result, names, confidence, right)


def read_history(path: Path, columns: Columns, units: Units, max_chars: int) -> list[Routed]:
    """The rows of a history file (CSV, XLSX or JSON Lines); raises DataError naming file and row.

    Units go by id, name or alias; 属地 and 本单位 are understood too.
    """
    rows = read(str(path), read_bytes(path), [column for column in vars(columns).values() if column]).rows
    there = {column for row in rows for column in row.cells}
    for option, column in vars(columns).items():
        if rows and column is not None and column not in there:
            raise DataError(path, f"--{option} 所指的列 {column!r} 不存在，文件的列为：{'、'.join(sorted(there))}")
    return [_routed(path, row, columns, units, max_chars) for row in rows]


def corrected_units(units: Units, settings: Settings) -> list[Routed]:
    """The stored submissions whose unit people decided; raises DataError naming the submission."""
    found = []
    for one, item in decided(settings):
        if one.unit:
            try:
                label = _key(units, one.unit)
            except InputError as error:
                raise DataError("更正", f"{one.number} 号材料：{error}") from error
            place = " ".join(filter(None, (item.district, item.address))) or None
            found.append(Routed(Labelled(f"更正:{one.number}", item.title, item.text, label), place))
    return found


def _routed(path: Path, row: Row, columns: Columns, units: Units, max_chars: int) -> Routed:
    def cell(column: str | None, *, required: bool = True) -> str:
        return validate(row.cells.get(column), column or "", max_chars, required=required) if column else ""

    try:
        if row.problem:
            raise InputError("invalid_value", "row", row.problem)
        label = _key(units, cell(columns.unit))
        second = cell(columns.second, required=False)
        acceptable = (_key(units, second),) if second.strip() else ()
        title, text = cell(columns.title, required=False), cell(columns.text)
        district = cell(columns.district, required=False).strip()
    except InputError as error:
        raise DataError(path, str(error), row.number) from error
    return Routed(Labelled(f"{path.name}:{row.number}", title, text, label, acceptable=acceptable), district or None)


def _key(units: Units, written: str) -> str:
    return _ROLES.get(written.strip()) or lead_key(units.find(written))


def _said(proposal: Proposal) -> str:
    """The proposed lead as history counts it; 人工 is what the office handles itself."""
    return lead_key(proposal.lead)


def _names(units: Units) -> dict[str, str]:
    roles = {DISTRICT: "属地", OFFICE: "人工", REST: "其他单位"}
    return {unit.id: unit.name for unit in units.units} | roles


def _scores(items: Sequence[Labelled], proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Shares with 95 % intervals: answered; right, or acceptable, if answered; the lead among the alternatives."""
    truth, said = [item.label for item in items], [_said(proposal) for proposal in proposals]
    answered = np.array([p.lead is not None for p in proposals])
    right = np.array([s == t for s, t in zip(said, truth, strict=True)])
    fine = np.array([s in {item.label, *item.acceptable} for s, item in zip(said, items, strict=True)])
    among = [t in [lead_key(a.unit) for a in p.alternatives] for p, t in zip(proposals, truth, strict=True)]
    listed = np.array(among)

    def share(hits: Any, rows: Any) -> float:
        return float(hits[rows].mean()) if len(rows) else 0.0

    n = len(truth)
    figures = {
        "answered": bootstrap(n, lambda rows: share(answered, rows)),
        "right_if_answered": bootstrap(n, lambda rows: share(right, rows[answered[rows]])),
        "acceptable_if_answered": bootstrap(n, lambda rows: share(fine, rows[answered[rows]])),
        "top3": bootstrap(n, lambda rows: share(listed, rows)),
    }
    common = {key for key, count in Counter(truth).items() if count >= _MIN_SHOWN}
    shown = [[key if key in common else REST for key in keys] for keys in (truth, said)]
    labels = sorted({*shown[0], *shown[1]})
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, tuple([labels.index(key) for key in keys] for keys in shown), 1)
    plain = {
        k: {"value": round(e.value, 4), "low": round(e.low, 4), "high": round(e.high, 4)} for k, e in figures.items()
    }
    per_label = [vars(score) for score in label_scores(labels, *shown)]
    return {"n": n, **plain, "per_label": per_label, "confusion": confusion.tolist()}


def _errors(rows: Sequence[Routed], proposals: Sequence[Proposal], names: dict[str, str]) -> list[dict[str, Any]]:
    """The most certain wrong proposals; personal data starred out, since reports are passed round."""
    wrong = [
        (row, proposal)
        for row, proposal in zip(rows, proposals, strict=True)
        if proposal.lead is not None and _said(proposal) != row.item.label
    ]
    wrong.sort(key=lambda one: -one[1].probability)
    return [
        {
            "id": row.item.id,
            "title": mask(row.item.title),
            "text": mask(row.item.text),
            "truth": names[row.item.label],
            "answer": names[_said(proposal)],
            "confidence": round(proposal.probability, 4),
            "reason": proposal.reason,
        }
        for row, proposal in wrong[:_MOST_ERRORS]
    ]
