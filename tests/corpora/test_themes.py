"""The training corpus and the held-out set: schema, no copies, balance, and no overlap with any evaluation text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import regex

from nlp.corpus import near_copies
from nlp.taxonomy import Taxonomy
from service.settings import ROOT

CORPORA = ROOT / "corpora"
FIELDS = {"id", "title", "text", "matter", "primary", "secondary", "register", "place", "rules", "side",
          "insufficient", "group", "note"}  # fmt: skip
FORMAL = {"proposal", "briefing", "research"}
REGISTERS = FORMAL | {"hotline", "post", "oneliner", "chat"}
# Said by everyone at the beginning or end of a letter; they carry no theme.
GREETINGS = frozenset("尊敬的领导您好 恳请有关部门尽快处理 希望领导能够重视 望领导在百忙之中".split())
Records = list[dict[str, Any]]


def _read(folder: str) -> Records:
    paths = sorted((CORPORA / folder).glob("*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def training() -> Records:
    return _read("themes")


@pytest.fixture(scope="module")
def held_out() -> Records:
    return _read("heldout")


@pytest.mark.parametrize("name", ["themes", "heldout"])
def test_schema(name: str, taxonomy: Taxonomy) -> None:
    records = _read(name)
    for r in records:
        assert set(r) == FIELDS, r["id"]
        matter = taxonomy.matter_by_id[r["matter"]]
        assert matter.theme == r["primary"], r["id"]
        assert r["text"].strip(), r["id"]
        assert r["register"] in REGISTERS, r["id"]
        assert r["place"] in {"guiyang", "elsewhere", "none"}, r["id"]
        assert len(r["secondary"]) <= 2, r["id"]
        assert r["primary"] not in r["secondary"], r["id"]
        assert set(r["secondary"]) <= set(taxonomy.theme_by_id), r["id"]
        assert set(r["rules"]) <= set(range(1, 16)), r["id"]
        assert (r["side"] in {"a", "b"}) == bool(r["rules"]), r["id"]
        assert r["insufficient"] is matter.insufficient, r["id"]
    assert max(Counter(r["id"] for r in records).values()) == 1


def test_no_near_copies_within_or_across(training: Records, held_out: Records) -> None:
    records = training + held_out
    copies = near_copies([r["title"] + r["text"] for r in records])
    found = [(records[i]["id"], records[j]["id"]) for i, j, _ in copies if records[i]["group"] != records[j]["group"]]
    assert found == []


def test_no_sentence_recurs(training: Records) -> None:
    holders: dict[str, set[str]] = {}
    for r in training:
        for sentence in regex.split(r"[。！？!?；;\n]", r["text"]):
            masked = regex.sub(r"\d+|[A-Z]\d*(?=[市区县])", "#", regex.sub(r"\s", "", sentence))
            if len(masked) >= 15 and not any(g in masked for g in GREETINGS):
                holders.setdefault(masked, set()).add(r["id"])
    assert {s: ids for s, ids in holders.items() if len(ids) > 3} == {}


def test_balance(training: Records, taxonomy: Taxonomy, capsys: pytest.CaptureFixture[str]) -> None:
    matters, themes = Counter(r["matter"] for r in training), Counter(r["primary"] for r in training)
    lengths = Counter(
        (r["register"] in FORMAL, "short" if len(r["text"]) < 60 else "long" if len(r["text"]) > 300 else "middle")
        for r in training
    )
    with capsys.disabled():
        print("\n", dict(themes), dict(lengths), f"fewest in a matter: {min(matters.values())}")
    assert set(matters) == set(taxonomy.matter_by_id)
    assert min(themes.values()) >= 300
    assert min(matters.values()) >= 40
    assert len(training) >= 3000
    n = len(training)
    assert sum(bool(r["rules"]) for r in training) >= 0.30 * n
    assert sum(bool(r["secondary"]) for r in training) >= 0.20 * n
    assert sum(r["place"] != "guiyang" for r in training) >= 0.25 * n
    assert 0.40 <= sum(r["register"] in FORMAL for r in training) / n <= 0.60


def test_every_rule_is_tested_from_both_sides(training: Records, held_out: Records) -> None:
    for records, fewest, each in ((training, 25, 5), (held_out, 4, 1)):
        sides = Counter((rule, r["side"]) for r in records for rule in r["rules"])
        for rule in range(1, 16):
            a, b = sides[rule, "a"], sides[rule, "b"]
            assert a + b >= fewest, f"rule {rule}: {a} + {b}"
            assert min(a, b) >= each, f"rule {rule}: {a} + {b}"


def test_held_out_set_covers_everything(held_out: Records, taxonomy: Taxonomy) -> None:
    assert len(held_out) >= 300
    assert {r["matter"] for r in held_out} == set(taxonomy.matter_by_id)
    assert sum(bool(r["rules"]) for r in held_out) >= 0.30 * len(held_out)


def test_no_real_text_has_come_in(training: Records, held_out: Records, real_data: Path) -> None:
    import csv

    real = [json.loads(line) for line in (real_data / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    with (real_data / "messages.csv").open(encoding="utf-8-sig", newline="") as stream:
        real += [{"title": row["留言主题"], "text": row["留言详情"]} for row in csv.DictReader(stream)]
    own = [r["title"] + r["text"] for r in training + held_out]
    copies = near_copies(own + [r["title"] + r["text"] for r in real])
    assert [(i, j) for i, j, _ in copies if j < len(own) <= i] == []


@pytest.mark.parametrize("name", ["themes", "heldout"])
def test_meta_describes_these_files(name: str) -> None:
    meta = json.loads((CORPORA / name / "meta.json").read_text(encoding="utf-8"))
    paths = sorted((CORPORA / name).glob("*.jsonl"))
    assert meta["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    assert meta["records"] == sum(len(p.read_text(encoding="utf-8").splitlines()) for p in paths)
