"""How the pair model grades what a search over real messages brings up: random messages, each with the nearest others.

Hardly any of these pairs is one event (messages.csv holds few true duplicates), so the share graded duplicate is close
to the share of false alarms a clerk would see. ``--print`` shows the surest, to be read by a person.

    python bench/neighbours.py [--print 25] [--out bench/results/neighbours.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from nlp.evaluation import wilson
from nlp.grading import RELATIONS
from service.engine import Engine, load_models
from service.learning import read_labelled
from service.settings import ROOT, Settings

MESSAGES = ROOT.parent / "shared" / "real" / "messages.csv"
SEED = 5
MESSAGES_DRAWN = 40
NEAREST = 6


def main() -> None:
    """Encode, grade, record, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", type=int, default=0, dest="shown", help="how many of the surest pairs to show")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "neighbours.json")
    options = parser.parse_args()
    settings = Settings()
    items = read_labelled(MESSAGES, "留言详情", "一级标签", "留言主题", settings.max_chars)
    engine = Engine(load_models(settings), settings.queue_size)
    pairs_model = engine.models.pairs
    vectors = np.stack([e.vector for start in range(0, len(items), 64) for _, e in engine.read(
        [(item.title, item.text) for item in items[start : start + 64]])])  # fmt: skip
    pairs = []
    for one in np.random.default_rng(SEED).permutation(len(items))[:MESSAGES_DRAWN].tolist():
        likeness = vectors @ vectors[one]
        likeness[one] = -1
        pairs += [(one, other) for other in np.argsort(-likeness, kind="stable")[:NEAREST].tolist()]
    needed = sorted({index for pair in pairs for index in pair})
    read = engine.read([(items[index].title, items[index].text) for index in needed])
    profiles = {index: pairs_model.profile(*both) for index, both in zip(needed, read, strict=True)}
    engine.close()
    p = pairs_model.probabilities([(profiles[a], profiles[b]) for a, b in pairs], "search")
    grades = p.argmax(axis=1)
    duplicate = wilson(int((grades == 0).sum()), len(pairs))
    record = {
        "messages": MESSAGES_DRAWN,
        "pairs": len(pairs),
        "grades": {name: int((grades == k).sum()) for k, name in enumerate(RELATIONS)},
        "graded_duplicate": {name: round(value, 4) for name, value in vars(duplicate).items()},
        "model": pairs_model.name,
    }
    options.out.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, ensure_ascii=False, indent=1))
    for k in np.argsort(-p[:, 0], kind="stable")[: options.shown]:
        a, b = pairs[k]
        print(f"{p[k, 0]:.2f}\t{items[a].title.strip()}\t{items[b].title.strip()}")


if __name__ == "__main__":
    main()
