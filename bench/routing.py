"""Routing: how far the table goes on real messages, and table and history against two dispatchers.

Real messages (where present beside the project): shares answered with a reason, and left to a person, with the why.
corpora/routing: 1,120 texts with the unit that a reader of the unit table chose, by folds that never part
near-duplicates. The theme model has learned the matters of these very texts, and the encoder was adapted to them: both
figures are optimistic by that. Writes bench/results/routing.json (figures only).

    python bench/routing.py [--cache FILE.npz] [--only messages|history]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from nlp.contracts import MatterScore
from nlp.corpus import Labelled, load_corpus
from nlp.evaluation import bootstrap
from nlp.lexicon import rows
from nlp.routing import Proposal
from nlp.routing_table import lead_key
from nlp.routing_training import as_figures, score_routing, train_routing
from nlp.themes import read, search_terms
from nlp.training import Features
from nlp.units import DISTRICT, OFFICE
from service.engine import Models, load_models
from service.intake import read as read_file
from service.intake import read_bytes
from service.routing import today
from service.settings import ROOT, Settings

MESSAGES = ROOT.parent / "shared" / "real" / "messages.csv"
RESULT = ROOT / "bench" / "results" / "routing.json"
HISTORY = ROOT / "corpora" / "routing" / "history.tsv"
_BATCH = 32


def main() -> None:
    """Measure, record, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--only", choices=["messages", "history"])
    given = parser.parse_args()
    models = load_models(Settings())
    result: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    if given.only != "history" and MESSAGES.is_file():
        result["messages"] = on_messages(models)
    if given.only != "messages":
        result["history"] = on_history(models, given.cache)
    RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, ensure_ascii=False, indent=1))


def on_messages(models: Models) -> dict[str, Any]:
    """Shares of real messages by who answers and, for 人工, why."""
    columns = ("留言主题", "留言详情")
    rows_read = read_file(str(MESSAGES), read_bytes(MESSAGES), columns).rows
    texts = [(row.cells[columns[0]], row.cells[columns[1]]) for row in rows_read]
    _, p = encoded(models, texts)
    proposals = [proposed(models, pair, one) for pair, one in zip(texts, p, strict=True)]
    why = Counter(kind_of(proposal) for proposal in proposals)
    return {
        "texts": len(texts),
        "shares": {kind: round(count / len(texts), 4) for kind, count in why.most_common()},
        "confidence": dict(Counter(f.confidence for f in proposals if f.lead is not None)),
        "without_reason": sum(not proposal.reason for proposal in proposals),
        "leads": len({f.lead.id for f in proposals if f.lead is not None}),
    }


def kind_of(proposal: Proposal) -> str:
    """Answered, or why not."""
    if proposal.lead is not None:
        return "answered"
    for sign, kind in (("拿不准", "doubtful"), ("不属本级", "out_of_remit"), ("没有这类", "no_row")):
        if sign in proposal.reason:
            return kind
    return "own_office"


def on_history(models: Models, cache: Path | None) -> dict[str, Any]:
    """Table alone and learned, on the history of corpora/routing."""
    items = history(models)
    vectors, p = cached(models, items, cache)
    texts = [(item.title, item.text) for item in items]
    documents = [models.analyser(text, title) for title, text in texts]
    opinions = [models.router.read(d, scored(models, one), today()) for d, one in zip(documents, p, strict=True)]
    tables = [opinion.leads for opinion in opinions]
    truth, also = [item.label for item in items], [item.acceptable for item in items]
    proposals = [proposed(models, pair, one) for pair, one in zip(texts, p, strict=True)]
    features = Features(vectors, [search_terms(document) for document in documents])
    learned = train_routing(items, features, tables, "bench", print)
    return {
        "texts": len(items),
        "note": "themes model and encoder have seen the matters of these texts: figures are optimistic",
        "table_proposals": agreement(proposals, items),
        "table_ranking": as_figures(score_routing(tables, truth, also)),
        "learned": as_figures(learned.scores),
        "left_to_table": learned.rare,
        "pool": [round(float(weight), 3) for weight in learned.model.parameters.pool],
    }


def agreement(proposals: Sequence[Proposal], items: Sequence[Labelled]) -> dict[str, Any]:
    """How many proposals name a unit, and how often it is the decided one, or one that would do; 95 % intervals."""
    answered = np.array([proposal.lead is not None for proposal in proposals])
    said = [lead_key(proposal.lead) for proposal in proposals]
    right = np.array([s == item.label for s, item in zip(said, items, strict=True)])
    fine = np.array([s in {item.label, *item.acceptable} for s, item in zip(said, items, strict=True)])
    n = len(items)
    figures = {
        "coverage": bootstrap(n, lambda rows: float(answered[rows].mean())),
        "top1": bootstrap(n, lambda rows: float(right[rows[answered[rows]]].mean())),
        "acceptable": bootstrap(n, lambda rows: float(fine[rows[answered[rows]]].mean())),
    }
    return {name: {k: round(v, 4) for k, v in vars(figure).items()} for name, figure in figures.items()}


def history(models: Models) -> list[Labelled]:
    """The texts of corpora/themes that were routed: label is the lead key, acceptable the second choice."""
    texts = {item.id: item for item in load_corpus(sorted((ROOT / "corpora" / "themes").glob("*.jsonl")))}
    roles = {"manual": OFFICE, "district": DISTRICT}

    def key(written: str) -> str:
        return roles.get(written) or lead_key(models.router.units.find(written))

    found = []
    for _, row in rows(HISTORY, ("id", "unit", "second", "reader")):
        acceptable = (key(row["second"]),) if row["second"] else ()
        found.append(replace(texts[row["id"]], label=key(row["unit"]), acceptable=acceptable))
    return found


def cached(models: Models, items: Sequence[Labelled], cache: Path | None) -> tuple[Any, Any]:
    """Vectors (n, d) and matter probabilities (n, K), from ``cache`` where it is of this encoder and model."""
    ids, names = [item.id for item in items], (models.encoder.encoder_id, models.themes.name)
    if cache is not None and cache.is_file():
        with np.load(cache) as kept:
            if kept["ids"].tolist() == ids and (str(kept["encoder"]), str(kept["model"])) == names:
                return kept["vectors"], kept["p"]
    vectors, p = encoded(models, [(item.title, item.text) for item in items])
    if cache is not None:
        np.savez(cache, ids=np.array(ids), vectors=vectors, p=p, encoder=names[0], model=names[1])
    return vectors, p


def encoded(models: Models, texts: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Base vectors (n, d) and matter probabilities (n, K) of (title, text) pairs."""
    vectors, p = [], []
    for start in range(0, len(texts), _BATCH):
        documents = [models.analyser(text, title) for title, text in texts[start : start + _BATCH]]
        encodings = models.encoder.encode([document.normalised.text for document in documents])
        for document, encoding in zip(documents, encodings, strict=True):
            reading = read(document, encoding)
            vectors.append(encoding.vector)
            p.append(np.exp(log_softmax(models.themes.logits(reading.vector[None], [reading.words])[0])))
        print("encoded", len(vectors), len(texts))
    return np.stack(vectors), np.stack(p)


def scored(models: Models, p: Any) -> list[MatterScore]:
    """The five most probable matters, as ``classify`` gives them."""
    return [MatterScore(models.themes.matters[k], "", float(p[k])) for k in np.argsort(-p, kind="stable")[:5]]


def proposed(models: Models, pair: tuple[Any, Any], p: Any) -> Proposal:
    """The table's proposal."""
    title, text = pair
    return models.router.propose(models.analyser(text, title), None, scored(models, p), today())


if __name__ == "__main__":
    main()
