"""Compares model families on the training corpus, out of fold, grouped: bench/results/families.json.

TF-IDF + linear, frozen encoder + linear, both pooled, and the adapted encoder's head with and without TF-IDF. Five
folds, except the adapted encoder's (two: each fold is a whole adaptation). Needs models/encoder-delta-v1.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold

from nlp.adaptation import load_head
from nlp.corpus import load_corpus
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.encoder_build import build_encoder, file_sha256
from nlp.evaluation import score_themes
from nlp.taxonomy import load_taxonomy
from nlp.training import FOLDS, SEED, _fit_base, _fit_pool, extract, prepare
from service.settings import ROOT, Settings


def main() -> None:
    """Fit, score, record, print a Markdown table."""
    settings = Settings()
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    paths = sorted((settings.corpora / "themes").glob("*.jsonl"))
    items, hashes = load_corpus(paths), {path.name: file_sha256(path) for path in paths}
    labels, y, groups = prepare(items, taxonomy)
    with tempfile.TemporaryDirectory() as folder:
        encoder = load_encoder(build_encoder(Path(folder) / "encoder"))
        features = extract(items, Analyser(settings.corpora), encoder, lambda *_: None)
    begun = time.perf_counter()
    held_out = np.zeros((2, len(items), len(labels)))
    for inner, outer in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED).split(y, y, groups):
        held_out[:, outer] = _fit_base(features.take(inner), y[inner], len(labels), None).separate(features.take(outer))
    seconds = time.perf_counter() - begun
    adapted = load_head(settings.encoder_delta, labels, [item.id for item in items], hashes).held_out
    families = {
        "TF-IDF + 逻辑回归": held_out[[1]],
        "冻结编码器 + 逻辑回归": held_out[[0]],
        "两者合并": held_out,
        "适配编码器（LoRA）+ 线性头": adapted[None],
        "适配编码器 + TF-IDF 合并": np.stack([adapted, held_out[1]]),
    }
    themes = [theme.id for theme in taxonomy.themes]
    theme_of = np.array([themes.index(taxonomy.matter_by_id[label].theme) for label in labels])
    truth = [themes[theme_of[k]] for k in y]
    results: list[dict[str, Any]] = []
    for name, logits in families.items():
        padded = logits if len(logits) == 2 else np.concatenate([logits, np.zeros_like(logits)])
        pooled = np.tensordot(_fit_pool(padded, y), padded, axes=1)
        p = np.exp(log_softmax(pooled, axis=1))
        by_theme = np.stack([p[:, theme_of == t].sum(axis=1) for t in range(len(themes))], axis=1)
        scores = score_themes(themes, by_theme, truth).as_dict()
        matter = round(float((pooled.argmax(axis=1) == y).mean()), 4)
        results.append(
            {"family": name, "matter_accuracy": matter, **{k: scores[k] for k in ("accuracy", "macro_f1", "ece")}}
        )
    record = {"texts": len(items), "folds": FOLDS, "fit_seconds_linear": round(seconds), "families": results}
    path = ROOT / "bench" / "results" / "families.json"
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for r in results:
        figures = [
            f"{r[k]['value']:.3f} [{r[k]['low']:.3f}, {r[k]['high']:.3f}]" for k in ("accuracy", "macro_f1", "ece")
        ]
        print(f"| {r['family']} | {' | '.join(figures)} | {r['matter_accuracy']:.3f} |")


if __name__ == "__main__":
    main()
