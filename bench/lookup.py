"""Look-up over 100,000 and 1,000,000 stored texts: recall@10, and time as a ratio to a brute-force numpy scan.

The vectors are jittered real ones (``jittered``): texts of corpora/themes, encoded, each drawn many times with Gaussian
noise of its own and set back to length 1. Queries are texts of corpora/heldout as they are (nobody's copy is stored),
and more jittered ones. Brute force is ``matrix @ query`` with ``np.argpartition`` in the same process, alternating with
what is measured, so the ratio holds on another machine as well. Words are those of the same texts, a third left out.

    python bench/lookup.py [--sizes 100000 1000000] [--out bench/results/lookup.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlp.contracts import FloatArray
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.retrieval import Mask, TermIndex, VectorIndex, fuse
from nlp.similar import nearest
from nlp.themes import search_terms
from service.settings import ROOT, Settings

SEED = 20240506
# Length of the noise: the cosine of a jittered vector and its source is about 0.94, as of two texts on one matter.
JITTER = 0.35
QUERIES = 100
LIMIT = 10
CHUNK = 50_000
# Share of its words that a stored text keeps, so that no two texts from one source are alike.
KEPT = 0.67
# Every fourth text is encoded: more sources would only make the neighbours of a query fewer.
EVERY = 4


def jittered(sources: FloatArray, places: Sequence[int], rng: np.random.Generator) -> FloatArray:
    """float32 (len(places), d), rows L2 = 1: the sources at ``places``, each with noise of its own."""
    noise = rng.standard_normal((len(places), sources.shape[1]), dtype=np.float32)
    rows = sources[places] + noise * np.float32(JITTER / np.sqrt(sources.shape[1]))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def encoded(folder: str, every: int, settings: Settings) -> tuple[FloatArray, list[list[str]], str]:
    """Vectors (n, d) and words of the texts of a corpus, and the encoder's id."""
    analyser, encoder = Analyser(settings.corpora), load_encoder(settings.encoder)
    items = load_corpus(sorted((settings.corpora / folder).glob("*.jsonl")))[::every]
    documents = [analyser(item.text, item.title) for item in items]
    vectors = []
    for start in range(0, len(documents), 64):
        texts = [document.normalised.text for document in documents[start : start + 64]]
        vectors += [encoding.vector for encoding in encoder.encode(texts)]
    return np.stack(vectors), [search_terms(document) for document in documents], encoder.encoder_id


def brute_force(matrix: FloatArray, query: FloatArray, allowed: Mask | None = None) -> set[int]:
    """The rows of the ten highest cosines, of those allowed."""
    scores = matrix @ query
    if allowed is not None:
        scores[~allowed] = -np.inf
    return set(np.argpartition(scores, len(scores) - LIMIT)[len(scores) - LIMIT :].tolist())


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    begun = time.perf_counter()
    answer = work()
    return time.perf_counter() - begun, answer


def stored(
    size: int, sources: FloatArray, words: Sequence[list[str]], rng: np.random.Generator
) -> tuple[VectorIndex, TermIndex]:
    """The two indexes over ``size`` texts; keys are row numbers."""
    vectors, terms = VectorIndex(), TermIndex()
    for start in range(0, size, CHUNK):
        places = rng.integers(len(sources), size=min(CHUNK, size - start))
        vectors.put(range(start, start + len(places)), jittered(sources, places, rng))
        for key, place in enumerate(places, start):
            kept = rng.random(len(words[place])) < KEPT
            terms.put(key, [word for word, keep in zip(words[place], kept, strict=True) if keep])
    return vectors, terms


def rounds(
    vectors: VectorIndex, terms: TermIndex, queries: Sequence[tuple[FloatArray, list[str]]], rng: np.random.Generator
) -> Iterator[dict[str, tuple[float, float]]]:
    """For every query: (seconds, recall@10 of brute force) of each way; brute force itself among them."""
    keys, matrix = vectors.keys, vectors.matrix
    half = rng.random(len(keys)) < 0.5
    for vector, words in queries:
        ways: dict[str, Callable[[], list[int]]] = {
            "brute force": lambda v=vector: list(brute_force(matrix, v)),  # type: ignore[misc]
            "nlp.similar.nearest": lambda v=vector: [n.key for n in nearest(v, keys, matrix, LIMIT)],  # type: ignore[misc]
            "VectorIndex": lambda v=vector: [n.key for n in vectors.rank(v, LIMIT)],  # type: ignore[misc]
            "VectorIndex, half filtered out": lambda v=vector: [n.key for n in vectors.rank(v, LIMIT, half)],  # type: ignore[misc]
            "TermIndex (BM25)": lambda w=words: [n.key for n in terms.rank(w, LIMIT)],  # type: ignore[misc]
            "both, fused": lambda v=vector, w=words: fuse(  # type: ignore[misc]
                ([n.key for n in vectors.rank(v, LIMIT)], [n.key for n in terms.rank(w, LIMIT)]), 2 * LIMIT
            ),
        }
        truth = brute_force(matrix, vector)
        truth_half = brute_force(matrix, vector, half)
        found = {}
        for name, work in ways.items():
            seconds, answer = timed(work)
            right = truth_half if "half" in name else truth
            found[name] = (seconds, len(right & set(answer)) / LIMIT)
        yield found


def measure(
    size: int, sources: FloatArray, words: list[list[str]], queries: dict[str, list[tuple[FloatArray, list[str]]]]
) -> dict[str, Any]:
    """Build, warm up, and measure every kind of query."""
    rng = np.random.default_rng(SEED)
    building, (vectors, terms) = timed(lambda: stored(size, sources, words, rng))
    vectors.rank(sources[0], LIMIT)
    result: dict[str, Any] = {"size": size, "build_seconds": round(building)}
    for kind, some in queries.items():
        per_query = list(rounds(vectors, terms, some, rng))
        ways = {}
        for name in per_query[0]:
            ratios = [found[name][0] / found["brute force"][0] for found in per_query]
            recalls = [found[name][1] for found in per_query]
            ways[name] = {
                "time_ratio_median": round(statistics.median(ratios), 3),
                "time_ratio_p95": round(float(np.quantile(ratios, 0.95)), 3),
                "milliseconds_median": round(1000 * statistics.median(found[name][0] for found in per_query), 2),
                "recall_at_10": round(statistics.fmean(recalls), 4),
            }
        result[kind] = ways
    arrival, _ = timed(lambda: vectors.put([size], sources[:1]))
    word_arrival, _ = timed(lambda: terms.put(size, words[0]))
    result["arrival_milliseconds"] = round(1000 * (arrival + word_arrival), 2)
    return result


def main() -> None:
    """Encode, build, measure, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "lookup.json")
    options = parser.parse_args()
    settings = Settings()
    sources, words, encoder_id = encoded("themes", EVERY, settings)
    unseen, unseen_words, _ = encoded("heldout", 1, settings)
    rng = np.random.default_rng(SEED + 1)
    chosen = rng.permutation(len(unseen))[:QUERIES]
    places = rng.integers(len(sources), size=QUERIES)
    noisy = jittered(sources, places, rng)
    queries = {
        "real queries": [(unseen[i], unseen_words[i]) for i in chosen],
        "jittered queries": [(noisy[i], words[place]) for i, place in enumerate(places)],
    }
    record = {
        "dimension": sources.shape[1],
        "source_texts": len(sources),
        "queries_of_each_kind": QUERIES,
        "jitter": JITTER,
        "seed": SEED,
        "encoder": encoder_id,
        "machine": platform.machine(),
        "results": [measure(size, sources, words, queries) for size in options.sizes],
    }
    record["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1)
    options.out.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
