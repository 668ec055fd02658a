"""The routing history is whole: its texts and units exist, and it is as large as its README says."""

from __future__ import annotations

import json
from collections import Counter

from nlp.lexicon import rows
from nlp.taxonomy import Taxonomy
from nlp.units import load_units
from service.settings import ROOT

ROLES = {"district", "manual"}
COLUMNS = ("id", "unit", "second", "reader")
HISTORY = [row for _, row in rows(ROOT / "corpora" / "routing" / "history.tsv", COLUMNS)]


def test_every_text_stands_in_the_themes_corpus_once() -> None:
    texts = {
        json.loads(line)["id"]
        for path in (ROOT / "corpora" / "themes").glob("*.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    ids = [row["id"] for row in HISTORY]
    assert len(ids) == len(set(ids)) == 1120
    assert set(ids) <= texts


def test_every_unit_exists_and_the_second_is_another(taxonomy: Taxonomy) -> None:
    known = load_units(ROOT / "corpora" / "units", list(taxonomy.matter_by_id)).unit_by_id.keys() | ROLES
    for row in HISTORY:
        assert row["unit"] in known, row
        assert row["second"] in known | {""}, row
        assert row["second"] != row["unit"], row


def test_two_readers_shared_the_work() -> None:
    readers = Counter(row["reader"] for row in HISTORY)
    assert set(readers) == {"1", "2"}
    assert min(readers.values()) >= 500
