"""The screening cases: schema, numbers, hard negatives, no near-copies within or between development and test."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nlp.screening import FLAGS, KINDS
from nlp.screening_training import load_cases
from service.settings import ROOT

FOLDER = ROOT / "corpora" / "screening"
FIELDS = {
    "urgency": {"id", "text", "urgent", "sentence", "why"},
    "types": {"id", "text", "kind", "why"},
    "flags": {"id", "text", "flags", "why"},
}
FEWEST = {"urgency-dev": 180, "urgency-test": 160, "types-dev": 150, "types-test": 100, "flags-dev": 150,
          "flags-test": 100}  # fmt: skip
# Share of five-character stretches two texts have in common, of all that either has.
NEAR = 0.3


def _read(name: str) -> list[dict[str, Any]]:
    path = FOLDER / "cases" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", sorted(FEWEST))
def test_schema_and_numbers(name: str) -> None:
    records = _read(name)
    assert len(records) >= FEWEST[name]
    assert all(set(r) == FIELDS[name.split("-", maxsplit=1)[0]] and r["why"] and r["text"].strip() for r in records)
    assert max(Counter(r["id"] for r in records).values()) == 1
    assert len(load_cases([FOLDER / "cases" / f"{name}.jsonl"])) == len(records)


@pytest.mark.parametrize("part", ["dev", "test"])
def test_balance(part: str) -> None:
    urgency = _read(f"urgency-{part}")
    assert 0.45 <= sum(not r["urgent"] for r in urgency) / len(urgency) <= 0.6
    kinds = Counter(r["kind"] for r in _read(f"types-{part}"))
    assert all(kinds[kind] >= 15 for kind in KINDS), kinds
    flags = [r["flags"] for r in _read(f"flags-{part}")]
    counts = Counter(flag for found in flags for flag in found)
    assert all(counts[flag] >= 15 for flag in FLAGS), counts
    assert sum(not found for found in flags) >= 20


def test_no_near_copies_within_or_between() -> None:
    texts = [r["text"] for name in sorted(FEWEST) for r in _read(name)]
    grams = [{t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in texts]
    holders: dict[str, list[int]] = {}
    near = set()
    for i, mine in enumerate(grams):
        for j in {j for gram in mine for j in holders.get(gram, ())}:
            if len(mine & grams[j]) / len(mine | grams[j]) >= NEAR:
                near.add((texts[j][:30], texts[i][:30]))
        for gram in mine:
            holders.setdefault(gram, []).append(i)
    assert near == set()


def test_no_overlap_with_real_texts(real_data: Path) -> None:
    import csv

    with (real_data / "messages.csv").open(encoding="utf-8-sig", newline="") as stream:
        real = [row["留言主题"] + row["留言详情"] for row in csv.DictReader(stream)]
    grams = {t[i : i + 12] for t in real for i in range(len(t) - 11)}
    texts = [r["text"] for name in FEWEST for r in _read(name)]
    assert [t for t in texts if any(t[i : i + 12] in grams for i in range(len(t) - 11))] == []


def test_meta_describes_these_files() -> None:
    meta = json.loads((FOLDER / "meta.json").read_text(encoding="utf-8"))
    paths = sorted((FOLDER / "cases").glob("*.jsonl"))
    assert meta["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    assert meta["records"] == {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
