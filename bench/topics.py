"""Ways of finding topics, on real messages: how much they cover, how stable they are, and how they grow.

Purity is not in here: it is read by people (docs/decisions.md). ``labels`` is the share of texts whose board class is
their topic's most common one: a topic that mixes classes mixes matters. Loose texts count as topics of their own in
the adjusted Rand index. Leiden is measured where leidenalg is installed; the product does not need it.

    python bench/topics.py [--cache vectors.npz] [--growth 100000] [--out bench/results/topics.json]
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.themes import search_terms
from nlp.topics import MIN_SIZE, NONE, Space, grow
from service.intake import parse_date
from service.settings import ROOT, Settings

Labels = NDArray[np.int64]
REAL = ROOT.parent / "shared" / "real" / "messages.csv"
SEEDS = 5


def load(cache: Path | None) -> tuple[list[dict[str, str]], Any, list[list[str]]]:
    """Messages by date with vectors and words; those are kept in ``cache``."""
    with REAL.open(encoding="utf-8-sig") as stream:
        rows = sorted(csv.DictReader(stream), key=lambda row: parse_date(row["留言时间"]) or "")
    if cache is not None and cache.exists():
        kept = np.load(cache)
        return rows, kept["vectors"], [words.split() for words in kept["words"].tolist()]
    analyser, encoder = Analyser(ROOT / "corpora"), load_encoder(Settings().encoder)
    vectors, words = [], []
    for start in range(0, len(rows), 32):
        read = [analyser(row["留言详情"], row["留言主题"]) for row in rows[start : start + 32]]
        vectors += [e.vector for e in encoder.encode([d.normalised.text for d in read])]
        words += [search_terms(d) for d in read]
    if cache is not None:
        np.savez(cache, vectors=np.array(vectors), words=np.array([" ".join(w) for w in words]))
    return rows, np.array(vectors), words


def ours(space: Space, before: Labels | None = None, parents: Any = None, broads: Any = None) -> Any:
    """The product's way; with what was there before, or from nothing."""
    count = len(space.all)
    labels = np.full((count, 2), NONE) if before is None else before
    return grow(space, labels, parents or {}, broads or set(), int(labels.max(initial=0)))


def _at_least(labels: Labels) -> Labels:
    """Groups below the least size are loose."""
    sizes = Counter(labels.tolist())
    return np.array([label if label >= 0 and sizes[label] >= MIN_SIZE else NONE for label in labels.tolist()])


def leiden(space: Space, seed: int) -> Labels:
    """Leiden on the mutual nearest-neighbour graph of the same similarity (GPL-3.0)."""
    import igraph  # noqa: PLC0415  (not a dependency)
    import leidenalg  # noqa: PLC0415

    near = space.similarities(space.all, space.all)
    np.fill_diagonal(near, -1)
    first = np.argsort(-near, axis=1)[:, :15]
    edges = {(i, int(j)) for i, row in enumerate(first) for j in row}
    mutual = sorted((i, j) for i, j in edges if i < j and (j, i) in edges)
    graph = igraph.Graph(len(near), mutual)
    weights = [max(float(near[i, j]), 0.001) for i, j in mutual]
    found = leidenalg.find_partition(
        graph, leidenalg.RBConfigurationVertexPartition, weights=weights, resolution_parameter=4.0, seed=seed
    )
    return _at_least(np.array(found.membership))


def others(space: Space) -> dict[str, Callable[[int], Labels]]:
    """Other ways, each a function of a seed. K-means is BERTopic's usual reduction without UMAP."""
    distances = np.maximum(1 - space.similarities(space.all, space.all), 0)
    np.fill_diagonal(distances, 0)
    found: dict[str, Callable[[int], Labels]] = {
        "HDBSCAN, leaves": lambda _: HDBSCAN(
            min_cluster_size=MIN_SIZE, min_samples=1, metric="precomputed", cluster_selection_method="leaf", copy=True
        ).fit_predict(distances),
        "HDBSCAN, excess of mass": lambda _: HDBSCAN(
            min_cluster_size=MIN_SIZE, min_samples=1, metric="precomputed", copy=True
        ).fit_predict(distances),
        "k-means, 150": lambda seed: _at_least(
            KMeans(150, n_init=3, random_state=seed).fit_predict(
                PCA(50, random_state=seed).fit_transform(space.all.dense)
            )
        ),
        "complete linkage": lambda _: _at_least(
            AgglomerativeClustering(
                n_clusters=None, distance_threshold=0.9, metric="precomputed", linkage="complete"
            ).fit_predict(distances)
        ),
    }
    try:
        import leidenalg  # noqa: F401, PLC0415
    except ImportError:
        return found
    return found | {"Leiden on mutual neighbours": lambda seed: leiden(space, seed)}


def describe(labels: Labels, classes: Sequence[str]) -> dict[str, Any]:
    """Number of topics, share of texts in one, share of the largest, and how far classes are kept apart."""
    sizes = Counter(labels[labels != NONE].tolist())
    inside = sum(sizes.values())
    same = sum(
        Counter(c for c, label in zip(classes, labels, strict=True) if label == topic).most_common(1)[0][1]
        for topic in sizes
    )
    return {"topics": len(sizes), "coverage": inside / len(labels), "largest": max(sizes.values()) / len(labels),
            "labels": same / inside}  # fmt: skip


def rand(one: Labels, other: Labels) -> float:
    """Adjusted Rand index, loose texts as topics of their own."""
    alone = -2 - np.arange(len(one))
    return float(adjusted_rand_score(np.where(one == NONE, alone, one), np.where(other == NONE, alone, other)))


def least(runs: Sequence[Labels]) -> float:
    """The least agreement of any two runs."""
    return min(rand(a, b) for i, a in enumerate(runs) for b in runs[:i])


def stability(vectors: Any, words: list[list[str]], first: int) -> dict[str, Any]:
    """Ours: five orders of the same messages, and the first part before and after the rest arrives."""
    runs = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(len(vectors))
        labels = np.empty((len(vectors), 2), dtype=np.int64)
        labels[order] = ours(Space(vectors[order], [words[i] for i in order])).labels
        runs.append(labels)
    part = ours(Space(vectors[:first], words[:first]))
    whole = Space(vectors, words)
    given = np.full((len(vectors), 2), NONE)
    given[:first] = part.labels
    after = ours(whole, given, part.parents, set(part.parents.values()))
    anew = ours(whole)
    return {
        "orders": {level: least([r[:, i] for r in runs]) for i, level in enumerate(("concrete", "broad"))},
        "arrival": {
            level: rand(part.labels[:, i], after.labels[:first, i]) for i, level in enumerate(("concrete", "broad"))
        },
        "anew": {
            level: rand(part.labels[:, i], anew.labels[:first, i]) for i, level in enumerate(("concrete", "broad"))
        },
        "after_arrival": after.labels,
    }


def growth(vectors: Any, words: list[list[str]], count: int) -> dict[str, Any]:
    """Resampled and perturbed messages: words dropped, vectors moved as far as a paraphrase moves them."""
    random = np.random.default_rng(0)
    rows = random.integers(0, len(vectors), count)
    noise = random.normal(size=(count, vectors.shape[1])).astype(np.float32)
    moved = vectors[rows] + 0.25 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    lists = [[word for word in words[i] if random.random() < 0.7] for i in rows]
    begun = time.perf_counter()
    space = Space(moved, lists)
    found = ours(space)
    whole = time.perf_counter() - begun
    given = found.labels.copy()
    given[-100:] = NONE
    begun = time.perf_counter()
    grow(space, given, found.parents, {p for p in found.parents.values() if p}, int(found.labels.max()),
         arrived=range(count - 100, count))  # fmt: skip
    sizes = Counter(found.labels[:, 0].tolist())
    return {"messages": count, "seconds": whole, "seconds_100_more": time.perf_counter() - begun,
            "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "topics": len(sizes) - 1, "coverage": 1 - sizes[NONE] / count}  # fmt: skip


def main() -> None:
    """Measure and print; write the figures where asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--growth", type=int, nargs="*", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, vectors, words = load(options.cache)
    classes = [row["一级标签"] for row in rows]
    space = Space(vectors, words)
    found = ours(space)
    stable = stability(vectors, words, int(0.8 * len(rows)))
    after = stable.pop("after_arrival")
    levels = ("concrete", "broad")
    result: dict[str, Any] = {
        "messages": len(rows),
        "ours": {level: describe(found.labels[:, i], classes) for i, level in enumerate(levels)},
        "ours_after_arrival": {level: describe(after[:, i], classes) for i, level in enumerate(levels)},
        "stability": stable,
        "others": {},
    }
    for name, way in others(space).items():
        runs = [way(seed) for seed in range(SEEDS)]
        result["others"][name] = describe(runs[0], classes) | {"seeds": least(runs)}
    result["growth"] = [growth(vectors, words, count) for count in options.growth]
    text = json.dumps(result, ensure_ascii=False, indent=2, default=float)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
