"""Writes meta.json of the labelled corpora: python -m tests.corpora.describe, after any edit of a corpus."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

from nlp.taxonomy import load_taxonomy
from nlp.units import load_units
from service.settings import ROOT


def main() -> None:
    """Count and hash what the folders hold."""
    for name in ("themes", "heldout"):
        folder = ROOT / "corpora" / name
        paths = sorted(folder.glob("*.jsonl"))
        records = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
        meta: dict[str, object] = {
            "records": len(records),
            "themes": dict(sorted(Counter(r["primary"] for r in records).items())),
            "registers": dict(sorted(Counter(r["register"] for r in records).items())),
            "places": dict(sorted(Counter(r["place"] for r in records).items())),
            "boundary_share": round(sum(bool(r["rules"]) for r in records) / len(records), 3),
            "secondary_share": round(sum(bool(r["secondary"]) for r in records) / len(records), 3),
            "licence": "MIT",
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        }
        _write(folder, meta)
    _describe_pairs()
    _describe_screening()
    _describe_units()


def _describe_pairs() -> None:
    folder = ROOT / "corpora" / "pairs"
    meta: dict[str, object] = {"licence": "MIT"}
    for part in ("train", "heldout"):
        paths = sorted((folder / part).glob("*.jsonl"))
        records = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
        meta[part] = {
            "records": len(records),
            "relations": dict(sorted(Counter(r["relation"] for r in records).items())),
            "traps": dict(sorted(Counter(r["trap"] for r in records if r["trap"]).items())),
            "variations": dict(sorted(Counter(v for r in records for v in r["variation"]).items())),
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        }
    _write(folder, meta)


def _describe_units() -> None:
    folder = ROOT / "corpora" / "units"
    taxonomy = load_taxonomy(ROOT / "corpora" / "taxonomy" / "taxonomy.toml")
    units = load_units(folder, list(taxonomy.matter_by_id))
    meta: dict[str, object] = {
        "units": dict(sorted(Counter(unit.level for unit in units.units).items())),
        "duties": len(units.duties),
        "matters": len({duty.matter for duty in units.duties}),
        "sources": dict(sorted(Counter(duty.source for duty in units.duties).items())),
        "referrals": len(units.referrals),
        "licence": "MIT",
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tsv"))},
    }
    _write(folder, meta)


def _describe_screening() -> None:
    folder = ROOT / "corpora" / "screening"
    paths = sorted((folder / "cases").glob("*.jsonl"))
    records = {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths
    }
    labels = {
        name: Counter(
            label for r in rows for label in (r["flags"] if "flags" in r else [str(r.get("kind", r.get("urgent")))])
        )
        for name, rows in records.items()
    }
    meta: dict[str, object] = {
        "licence": "MIT",
        "records": {name: len(rows) for name, rows in records.items()},
        "labels": {name: dict(sorted(found.items())) for name, found in labels.items()},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
    }
    _write(folder, meta)


def _write(folder: Path, meta: dict[str, object]) -> None:
    (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
