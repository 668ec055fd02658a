"""Cost of a full analysis as a ratio to one naive fp32 encoder call on the same texts, in one run.

“Naive” is sentence-transformers' own ``encode`` of the whole text and of every sentence, one call a text: what a caller
without this project would do to get the same vectors.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable

from sentence_transformers import SentenceTransformer

from nlp.corpus import load_corpus
from service.engine import load_models
from service.settings import ROOT, Settings

ROUNDS = 5
TEXTS = 60


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Measure the stages side by side, alternating, and record median ratios."""
    models = load_models(Settings())
    naive = SentenceTransformer(str(Settings().encoder), device="cpu")
    items = load_corpus(sorted((ROOT / "corpora" / "heldout").glob("*.jsonl")))[:TEXTS]
    documents = [models.analyser(item.text, item.title) for item in items]
    encodings = [models.encoder.encode([d.normalised.text])[0] for d in documents]

    def naive_calls() -> None:
        for d in documents:
            naive.encode([d.normalised.text])
            naive.encode([d.normalised.text[a:b] for a, b in d.sentences])

    stages: dict[str, Callable[[], object]] = {
        "naive encoder calls": naive_calls,
        "document (normalise, words, entities)": lambda: [models.analyser(i.text, i.title) for i in items],
        "encoder, one pass": lambda: [models.encoder.encode([d.normalised.text]) for d in documents],
        "themes and evidence": lambda: [
            models.themes.classify(d, e) for d, e in zip(documents, encodings, strict=True)
        ],
    }
    rounds = [{name: timed(work) for name, work in stages.items()} for _ in range(ROUNDS)]
    ratios = {name: round(statistics.median(r[name] / r["naive encoder calls"] for r in rounds), 3) for name in stages}
    ratios["full analysis"] = round(
        statistics.median(
            sum(v for k, v in r.items() if not k.startswith("naive")) / r["naive encoder calls"] for r in rounds
        ),
        3,
    )
    result = {"texts": len(items), "rounds": ROUNDS, "machine": platform.machine(), "ratio_to_naive": ratios}
    (ROOT / "bench" / "results" / "speed.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    print(json.dumps(result, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
