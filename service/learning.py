"""Training and evaluation of theme models from files: what the commands ``train themes`` and ``evaluate themes`` do."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nlp.adaptation import TASK as DELTA
from nlp.adaptation import Adapter, load_held_out, save_adaptation
from nlp.artefact import check_target
from nlp.corpus import Labelled, load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import build_encoder, file_sha256
from nlp.errors import DataError, InputError
from nlp.evaluation import label_scores, score_themes
from nlp.normalise import validate
from nlp.pii import mask
from nlp.report import render_report
from nlp.taxonomy import Taxonomy, load_taxonomy
from nlp.themes import TASK as THEMES
from nlp.training import analyse, extract, fit_linear, folds, prepare, save, train
from service.engine import Analysed, Engine, load_models
from service.intake import read, read_bytes
from service.settings import Settings
from service.sheets import Row

Report = Callable[[str, int, int], None]
_BATCH = 32
_MOST_ERRORS = 30
# Each is a whole adaptation.
ADAPTATION_FOLDS = 3


def train_theme_model(
    data: Sequence[Path],
    out: Path,
    *,
    text: str,
    label: str,
    title: str | None,
    taxonomy: Path | None,
    adaptation: Path | None,
    by_file: bool,
    settings: Settings,
    report: Report,
    command: str,
    more: Sequence[Labelled] = (),
) -> dict[str, Any]:
    """Train on labelled files, and ``more``, and write the model folder ``out``; returns the out-of-fold scores.

    Labels that are matters of the shipped taxonomy (or of ``taxonomy``) are counted under its themes; any other set of
    labels becomes a flat taxonomy of its own. ``by_file``: each file has a writer of its own, whose texts stay in one
    fold. ``adaptation`` is the folder of ``adapt_encoder`` where these same files
    adapted the encoder. Raises DataError naming file and row.
    """
    check_target(out, THEMES)
    items = [item for path in data for item in read_labelled(path, text, label, title, settings.max_chars)]
    items += more
    kind, own = _taxonomy_for(items, taxonomy, settings)
    encoder = load_encoder(settings.encoder)
    features = extract(analyse(items, Analyser(settings.corpora, settings.max_chars), report), encoder, report)
    adapted = None
    if adaptation is not None:
        labels, _, _ = prepare(items, own)
        adapted = load_held_out(adaptation, labels, [item.id for item in items], _hashes(data))
    trained = train(items, features, own, out.name, report, adapted, by_writer=by_file)
    papers = papers_of(data, items, command)
    own_text = taxonomy.read_text(encoding="utf-8") if taxonomy is not None else None
    save(trained, out, encoder_id=encoder.encoder_id, taxonomy_kind=kind, taxonomy_text=own_text, papers=papers)
    scores = trained.scores.as_dict()
    return {"model": str(out), "texts": len(items), "labels": len(trained.model.matters), "out_of_fold": scores}


def adapt_encoder(
    data: Sequence[Path], out: Path, *, by_file: bool, settings: Settings, report: Report, command: str
) -> dict[str, Any]:
    """Adapt the encoder to the matters of labelled files and write the low-rank updates to ``out``.

    Always starts from the encoder of the wheel, never from an adapted one. Adaptation and the linear model on the
    adapted vectors are cross-fitted together; ``by_file`` as in ``train_theme_model``.
    """
    check_target(out, DELTA)
    begun = time.perf_counter()
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    items = load_corpus(data)
    labels, y, groups = prepare(items, taxonomy, by_writer=by_file)
    themes = [theme.id for theme in taxonomy.themes]
    theme_of = np.array([themes.index(taxonomy.matter_by_id[label].theme) for label in labels])
    documents = analyse(items, Analyser(settings.corpora, settings.max_chars), report)
    ids = [item.id for item in items]
    held_out = np.zeros((len(items), len(labels)))
    with tempfile.TemporaryDirectory() as folder:
        adapter = Adapter(
            build_encoder(Path(folder) / "base"), [d.normalised.text for d in documents], y, theme_of, report
        )
        parts = folds(y, groups, ADAPTATION_FOLDS)
        for number, (inner, outer) in enumerate(parts, 1):
            vectors = adapter.fit(inner, f"适配（交叉 {number}/{len(parts)}）").vectors()
            held_out[outer] = fit_linear(vectors[inner], y[inner], len(labels)).logits(vectors[outer])
        factors = adapter.fit(np.arange(len(items)), "适配（全部）").factors()
    papers = papers_of(data, items, command) | {"seconds": round(time.perf_counter() - begun)}
    save_adaptation(factors, held_out, out, labels, ids, papers)
    accuracy = float((held_out.argmax(axis=1) == y).mean())
    return {"delta": str(out), "texts": len(items), "out_of_fold_matter_accuracy": round(accuracy, 4)}


def papers_of(data: Sequence[Path], items: Sequence[object], command: str) -> dict[str, Any]:
    """What every model folder says of its making."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "corpus": _hashes(data),
        "texts": len(items),
    }


def _hashes(data: Sequence[Path]) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in data}


def read_labelled(path: Path, text: str, label: str, title: str | None, max_chars: int) -> list[Labelled]:
    """Labelled texts of a file, JSON Lines or a table with these columns; raises DataError naming file and row."""
    if path.suffix == ".jsonl" and text == "text":
        return load_corpus([path], label)
    rows = read(str(path), read_bytes(path), [c for c in (text, label, title) if c]).rows
    columns = {column for row in rows for column in row.cells}
    for option, column in (("--text", text), ("--label", label), ("--title", title)):
        if column is not None and column not in columns:
            raise DataError(path, f"{option} 所指的列 {column!r} 不存在，文件的列为：{'、'.join(sorted(columns))}")
    return [_item(path, row, text, label, title, max_chars) for row in rows]


def _item(path: Path, row: Row, text: str, label: str, title: str | None, max_chars: int) -> Labelled:
    try:
        if row.problem:
            raise InputError("invalid_value", "row", row.problem)
        body = validate(row.cells.get(text), text, max_chars)
        head = validate(row.cells.get(title), title, max_chars, required=False) if title else ""
        answer = validate(row.cells.get(label), label, max_chars).strip()
    except InputError as error:
        raise DataError(path, str(error), row.number) from error
    return Labelled(f"{path.name}:{row.number}", head, body, answer)


def _taxonomy_for(items: Sequence[Labelled], path: Path | None, settings: Settings) -> tuple[str, Taxonomy]:
    if path is not None:
        return "own", load_taxonomy(path)
    shipped = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    counts = Counter(item.label for item in items)
    if counts.keys() <= set(shipped.matter_by_id):
        return "shipped", shipped
    priors = {label: counts[label] / len(items) for label in sorted(counts)}
    return "labels", Taxonomy.flat(priors, version=f"labels-{date.today():%Y%m%d}")  # noqa: DTZ011


def evaluate_theme_model(file: Path, settings: Settings, report: Report) -> tuple[dict[str, Any], str]:
    """Scores of the configured model on a labelled file, and the report page.

    The file's ``primary`` (a theme) is the truth, ``also_acceptable`` lists further defensible themes.
    """
    items = load_corpus([file], "primary")
    if not items:
        raise DataError(file, "文件中没有材料")
    engine = Engine(load_models(settings), queue_size=1)
    try:
        model = engine.models.themes
        unknown = sorted({item.label for item in items} - set(model.themes))
        if unknown:
            raise DataError(file, f"primary 不是模型的主题：{'、'.join(unknown)}；应为 {'、'.join(model.themes)}")
        answers: list[Analysed] = []
        for start in range(0, len(items), _BATCH):
            batch = [(item.title, item.text) for item in items[start : start + _BATCH]]
            found = engine.run(lambda batch=batch: engine.analyse(batch))  # type: ignore[misc]
            for item, answer in zip(items[start : start + _BATCH], found, strict=True):
                if isinstance(answer, InputError):
                    raise DataError(file, f"{item.id}：{answer}")
                answers.append(answer)
            report("评测", len(answers), len(items))
    finally:
        engine.close()
    columns = {theme: k for k, theme in enumerate(model.themes)}
    probabilities = np.zeros((len(items), len(columns)))
    for row, answer in enumerate(answers):
        for score in answer.classification.themes:
            probabilities[row, columns[score.theme]] = score.probability
    scores = score_themes(
        model.themes, probabilities, [item.label for item in items], [item.acceptable for item in items],
        threshold=model.parameters.accept_threshold,
    )  # fmt: skip
    names = {m.id: m.name for m in model.taxonomy.matters} | {t.id: t.name for t in model.taxonomy.themes}
    result = {
        "file": file.name,
        "file_sha256": file_sha256(file),
        "model": model.name,
        "encoder": engine.models.encoder.encoder_id,
        "scores": scores.as_dict(),
        "matters": _matter_scores(items, answers),
        "secondary": _secondary_scores(items, answers),
        "errors": _errors(items, answers),
    }
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == [columns[i.label] for i in items]
    return json.loads(json.dumps(result)), render_report("themes", result, names, confidence, right)


def _matter_scores(items: Sequence[Labelled], answers: Sequence[Analysed]) -> list[dict[str, Any]]:
    """Scores of every matter that was given or answered; none where the file names no matters."""
    if not all(item.matter for item in items):
        return []
    truth, said = [item.matter for item in items], [a.classification.matter for a in answers]
    return [asdict(score) for score in label_scores(sorted({*truth, *said}), truth, said)]


def _secondary_scores(items: Sequence[Labelled], answers: Sequence[Analysed]) -> dict[str, float | int]:
    """Micro precision and recall of the secondary themes."""
    said = [set(a.classification.secondary) for a in answers]
    true = [set(i.secondary) - {i.label} for i in items]
    hits = sum(len(s & t) for s, t in zip(said, true, strict=True))
    given, wanted = sum(map(len, said)), sum(map(len, true))
    return {
        "precision": round(hits / given, 4) if given else 0.0,
        "recall": round(hits / wanted, 4) if wanted else 0.0,
        "given": given,
        "wanted": wanted,
    }


def _errors(items: Sequence[Labelled], answers: Sequence[Analysed]) -> list[dict[str, Any]]:
    """The most confident wrong answers, with their evidence."""
    wrong = [
        (item, a)
        for item, a in zip(items, answers, strict=True)
        if a.classification.primary not in {item.label, *item.acceptable}
    ]
    wrong.sort(key=lambda pair: -pair[1].classification.confidence)
    return [_error(item, answer) for item, answer in wrong[:_MOST_ERRORS]]


def _error(item: Labelled, answer: Analysed) -> dict[str, Any]:
    """A wrong answer; personal data starred out, since reports are passed round."""
    c, shown = answer.classification, {"title": mask(item.title), "text": mask(item.text)}
    return {
        "id": item.id,
        "title": shown["title"],
        "truth": item.label,
        "answer": c.primary,
        "matter": c.matter,
        "confidence": round(c.confidence, 4),
        "evidence": [shown[e.field][e.start : e.end] for e in c.evidence[:3]],
    }
