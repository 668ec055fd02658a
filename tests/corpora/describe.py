"""Writes meta.json of the labelled corpora: python -m tests.corpora.describe, after any edit of a corpus."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from service.settings import ROOT


def main() -> None:
    """Count and hash what the folders hold."""
    for name in ("themes", "heldout"):
        folder = ROOT / "corpora" / name
        paths = sorted(folder.glob("*.jsonl"))
        records = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
        meta = {
            "records": len(records),
            "themes": dict(sorted(Counter(r["primary"] for r in records).items())),
            "registers": dict(sorted(Counter(r["register"] for r in records).items())),
            "places": dict(sorted(Counter(r["place"] for r in records).items())),
            "boundary_share": round(sum(bool(r["rules"]) for r in records) / len(records), 3),
            "secondary_share": round(sum(bool(r["secondary"]) for r in records) / len(records), 3),
            "licence": "MIT",
            "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths},
        }
        (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
