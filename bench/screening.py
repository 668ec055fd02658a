"""The screening model on the test cases, and a plain word match on the same: bench/results/screening.json."""

from __future__ import annotations

import json

import regex

from nlp.screening_training import both, load_cases
from service.learning_screening import evaluate_screening_model
from service.settings import ROOT, Settings

CASES = ROOT / "corpora" / "screening" / "cases"
RESULTS = ROOT / "bench" / "results" / "screening.json"
# Urgent where any of these occurs: what a word list without a reading of clauses does.
KEYWORDS = regex.compile(
    "火灾|着火|起火|失火|冒烟|浓烟|爆炸|泄漏|漏气|燃气味|坍塌|垮塌|塌方|塌陷|滑坡|漏电|触电|跳楼|自杀|轻生|不想活|溺水|"
    "落水|被困|中毒|昏迷|受伤|持刀|砍人|走失|失踪|失联|聚集|上访|堵路|横幅|罢工|围堵|讨薪|洪水|淹|疫情|虐待|生命危险"
)


def main() -> None:
    """Score, record, print."""
    paths = sorted(CASES.glob("*-test.jsonl"))
    result = evaluate_screening_model(paths, Settings(), lambda *_: None)
    urgency = [case for case in load_cases(paths) if case.urgent is not None]
    found = [KEYWORDS.search(case.text) is not None for case in urgency]
    result["keywords"] = both([bool(case.urgent) for case in urgency], found)
    result["command"] = "python bench/screening.py"
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
