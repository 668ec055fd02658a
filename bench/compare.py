"""Compares model families on the training corpus, out of fold by writer: bench/results/families.json and model card.

TF-IDF + linear, frozen encoder + linear, both pooled, and the adapted encoder with and without TF-IDF. The adapted
encoder's logits come from the cross-fitted adaptation that made models/encoder-delta-v1; everything else is fitted
here. Accuracy and macro-F1 over themes; texts count as often as their theme does in life only in the pool's weights.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from nlp.adaptation import load_held_out
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import build_encoder, file_sha256
from nlp.evaluation import score_themes
from nlp.taxonomy import load_taxonomy
from nlp.themes import prior_shift
from nlp.training import FOLDS, analyse, extract, fit_base, fit_pool, folds, prepare
from service.settings import ROOT, Settings


def main() -> None:
    """Fit, score, record, print a Markdown table."""
    settings = Settings()
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    paths = sorted((settings.corpora / "themes").glob("*.jsonl"))
    items, hashes = load_corpus(paths), {path.name: file_sha256(path) for path in paths}
    labels, y, groups = prepare(items, taxonomy, by_writer=True)
    documents = analyse(items, Analyser(settings.corpora), lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        encoder = load_encoder(build_encoder(Path(folder) / "encoder"))
        features = extract(documents, encoder, lambda *_: None)
    held_out = np.zeros((2, len(items), len(labels)))
    begun = time.perf_counter()
    for inner, outer in folds(y, groups, FOLDS):
        held_out[:, outer] = fit_base(features.take(inner), y[inner], len(labels)).separate(features.take(outer))
    seconds = (time.perf_counter() - begun) / FOLDS
    adapted = load_held_out(settings.encoder_delta, labels, [item.id for item in items], hashes)
    families = {
        "TF-IDF + 线性": held_out[[1]],
        "冻结编码器 + 线性": held_out[[0]],
        "冻结编码器 + TF-IDF": held_out,
        "适配编码器 + 线性": adapted[None],
        "适配编码器 + TF-IDF": np.stack([adapted, held_out[1]]),
    }
    themes = [theme.id for theme in taxonomy.themes]
    theme_of = np.array([themes.index(taxonomy.matter_by_id[label].theme) for label in labels])
    truth, shift = [themes[theme_of[k]] for k in y], prior_shift(taxonomy, labels)
    results: list[dict[str, Any]] = []
    for name, logits in families.items():
        padded = logits if len(logits) == 2 else np.concatenate([logits, np.zeros_like(logits)])
        pooled = np.tensordot(fit_pool(padded, shift, y, np.ones(len(y))), padded, axes=1) + shift
        p = np.exp(log_softmax(pooled, axis=1))
        by_theme = np.stack([p[:, theme_of == t].sum(axis=1) for t in range(len(themes))], axis=1)
        scores = score_themes(themes, by_theme, truth).as_dict()
        matter = round(float((pooled.argmax(axis=1) == y).mean()), 4)
        results.append(
            {"family": name, "matter_accuracy": matter, **{k: scores[k] for k in ("accuracy", "macro_f1", "ece")}}
        )
    record = {"texts": len(items), "folds": FOLDS, "linear_seconds_a_fit": round(seconds), "families": results}
    path = ROOT / "bench" / "results" / "families.json"
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for r in results:
        figures = [
            f"{r[k]['value']:.3f} [{r[k]['low']:.3f}, {r[k]['high']:.3f}]" for k in ("accuracy", "macro_f1", "ece")
        ]
        print(f"| {r['family']} | {' | '.join(figures)} | {r['matter_accuracy']:.3f} |")


if __name__ == "__main__":
    main()
