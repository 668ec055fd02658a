"""Urgency, kind of request and flags on the hand-written cases: bench/results/screening.json.

Precision and recall with 95 % Wilson intervals, on the test files (never read while the lists were made) and, apart,
on the development files they were made on. Baseline in the same run: urgent where any danger word occurs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import regex

from nlp.contracts import Screening, Span
from nlp.document import Analyser
from nlp.encoder import load_encoder
from nlp.evaluation import Estimate, calibration_error, detection, wilson
from nlp.screening import FLAGS, KINDS, Screen
from nlp.taxonomy import load_taxonomy
from nlp.themes import load_theme_model
from service.settings import ROOT, Settings

CASES = ROOT / "corpora" / "screening" / "cases"
RESULTS = ROOT / "bench" / "results" / "screening.json"
# What a plain word match looks for.
KEYWORDS = regex.compile(
    "火灾|着火|起火|失火|冒烟|浓烟|爆炸|泄漏|漏气|燃气味|坍塌|垮塌|塌方|塌陷|滑坡|漏电|触电|跳楼|自杀|轻生|不想活|溺水|"
    "落水|被困|中毒|昏迷|受伤|持刀|砍人|走失|失踪|失联|聚集|上访|堵路|横幅|罢工|围堵|讨薪|洪水|淹|疫情|虐待|生命危险"
)


def main() -> None:
    """Score, record, print."""
    settings = Settings()
    analyser, encoder = Analyser(settings.corpora), load_encoder(settings.encoder)
    taxonomy = load_taxonomy(settings.corpora / "taxonomy" / "taxonomy.toml")
    themes = load_theme_model(settings.theme_model, taxonomy, encoder.encoder_id)
    screen = Screen(settings.corpora / "screening")

    def read(texts: Sequence[str]) -> tuple[list[Screening], list[Screening]]:
        documents = [analyser(text) for text in texts]
        encodings = encoder.encode([document.normalised.text for document in documents])
        matters = [themes.classify(d, e).matter for d, e in zip(documents, encodings, strict=True)]
        return [screen(d, m) for d, m in zip(documents, matters, strict=True)], [screen(d) for d in documents]

    result: dict[str, Any] = {"command": "python bench/screening.py", "theme_model": themes.name}
    for part in ("test", "dev"):
        urgency, kinds, flags = (cases(f"{name}-{part}") for name in ("urgency", "types", "flags"))
        result[part] = {"urgency": score_urgency(urgency, [screen.urgency(analyser(c["text"])) for c in urgency])}
        for name, index in (("with_matter", 0), ("words_only", 1)):
            result[part][name] = {
                "kinds": score_kinds(kinds, read([c["text"] for c in kinds])[index]),
                "flags": score_flags(flags, read([c["text"] for c in flags])[index]),
            }
    RESULTS.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["test"], ensure_ascii=False, indent=1))


def cases(name: str) -> list[dict[str, Any]]:
    """The cases of one file."""
    return [json.loads(line) for line in Path(CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def score_urgency(records: list[dict[str, Any]], found: list[Span | None]) -> dict[str, Any]:
    """Precision and recall of the reading and of the word match; how often the sentence returned is the right one."""
    truth = [r["urgent"] for r in records]
    right = [
        f.start < r["text"].index(r["sentence"]) + len(r["sentence"]) and r["text"].index(r["sentence"]) < f.end
        for r, f in zip(records, found, strict=True) if f and r["urgent"]
    ]  # fmt: skip
    return {
        "n": len(records),
        "urgent": sum(truth),
        **_both(truth, [f is not None for f in found]),
        "sentence": _plain(wilson(sum(right), len(right))),
        "keywords": _both(truth, [KEYWORDS.search(r["text"]) is not None for r in records]),
    }


def score_kinds(records: list[dict[str, Any]], found: list[Screening]) -> dict[str, Any]:
    """Accuracy, calibration, and precision and recall of each kind."""
    import numpy as np  # noqa: PLC0415

    right = np.array([f.kind == r["kind"] for r, f in zip(records, found, strict=True)])
    by_kind = {k: _both([r["kind"] == k for r in records], [f.kind == k for f in found]) for k in KINDS}
    ece = calibration_error(np.array([f.confidence for f in found]), right)
    return {"n": len(records), "accuracy": _plain(wilson(int(right.sum()), len(right))), "ece": round(ece, 4),
            "by_kind": by_kind}  # fmt: skip


def score_flags(records: list[dict[str, Any]], found: list[Screening]) -> dict[str, Any]:
    """Precision and recall of each flag."""
    kinds = [{flag.kind for flag in f.flags} for f in found]
    by_flag = {k: _both([k in r["flags"] for r in records], [k in f for f in kinds]) for k in FLAGS}
    return {"n": len(records), "by_flag": by_flag}


def _both(truth: Sequence[bool], found: Sequence[bool]) -> dict[str, Any]:
    precision, recall = detection(truth, found)
    return {"precision": _plain(precision), "recall": _plain(recall)}


def _plain(estimate: Estimate) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(estimate).items()}


if __name__ == "__main__":
    main()
