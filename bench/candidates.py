"""Whether the candidates hold the duplicate: vectors alone, words alone, and both, on the pairs corpus.

Stored are both texts of every pair and all texts of corpora/themes; every duplicate pair asks with its first text and
should find the second. Settings are chosen on the train pairs and reported on the held-out ones.

    python bench/candidates.py [--out bench/results/candidates.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nlp.contracts import FloatArray
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.retrieval import TermIndex, VectorIndex, fuse
from nlp.themes import search_terms
from service.settings import ROOT, Settings

Rank = Callable[[int], list[int]]


def read_pairs(folder: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of all pairs (2i and 2i + 1 are a pair), and the duplicate ones as places."""
    texts: list[str] = []
    duplicates = []
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            pair = json.loads(line)
            if pair["relation"] == "duplicate":
                duplicates.append((len(texts), len(texts) + 1))
            texts += [pair["a"], pair["b"]]
    return texts, duplicates


def ways(vectors: VectorIndex, terms: TermIndex, matrix: FloatArray, words: list[list[str]]) -> dict[str, Rank]:
    """Lists of keys for the text at a place, itself left out."""

    def by_vector(place: int, limit: int) -> list[int]:
        return [n.key for n in vectors.rank(matrix[place], limit + 1) if n.key != place][:limit]

    def by_words(place: int, limit: int) -> list[int]:
        return [n.key for n in terms.rank(words[place], limit + 1) if n.key != place][:limit]

    def fused(place: int, depth: int) -> list[int]:
        return fuse((by_vector(place, depth), by_words(place, depth)), 10)

    def union(place: int, near: int, extra: int) -> list[int]:
        nearest = by_vector(place, near)
        return nearest + [key for key in by_words(place, near + extra) if key not in nearest][:extra]

    return {
        "vectors, 10": lambda place: by_vector(place, 10),
        "vectors, 15": lambda place: by_vector(place, 15),
        "words, 10": lambda place: by_words(place, 10),
        **{f"fused, 10 of {depth}": lambda place, depth=depth: fused(place, depth) for depth in (10, 20, 50, 200)},  # type: ignore[misc]
        "vectors 10 and words 5": lambda place: union(place, 10, 5),
    }


def measure(folder: Path, others: list[str], settings: Settings) -> dict[str, Any]:
    """Share of duplicates found by each way, and the mean place in the list of those found."""
    texts, duplicates = read_pairs(folder)
    analyser, encoder = Analyser(settings.corpora), load_encoder(settings.encoder)
    documents = [analyser(text) for text in texts + others]
    rows = []
    for start in range(0, len(documents), 64):
        rows += [e.vector for e in encoder.encode([d.normalised.text for d in documents[start : start + 64]])]
    matrix, words = np.stack(rows), [search_terms(document) for document in documents]
    vectors, terms = VectorIndex(), TermIndex()
    vectors.put(range(len(matrix)), matrix)
    for key, some in enumerate(words):
        terms.put(key, some)
    found: dict[str, Any] = {}
    for name, rank in ways(vectors, terms, matrix, words).items():
        places = [lists.index(b) + 1 for a, b in duplicates if b in (lists := rank(a))]
        first = sum(place == 1 for place in places) / len(duplicates)
        found[name] = {"found": round(len(places) / len(duplicates), 4), "first": round(first, 4)}
    return {"stored": len(documents), "duplicates": len(duplicates), "encoder": encoder.encoder_id, "ways": found}


def main() -> None:
    """Measure on train and held-out pairs, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "candidates.json")
    options = parser.parse_args()
    settings = Settings()
    items = load_corpus(sorted((settings.corpora / "themes").glob("*.jsonl")))
    others = [f"{item.title}\n{item.text}" if item.title else item.text for item in items]
    record = {name: measure(settings.corpora / "pairs" / name, others, settings) for name in ("train", "heldout")}
    options.out.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
