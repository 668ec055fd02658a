"""Scores of the shipped models on the held-out sets and, where they are present, on real messages.

Writes bench/results/themes-<set>.json and pairs-heldout.json (figures only, no texts) and the score tables of
docs/model-card.md.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.learning import evaluate_theme_model
from service.learning_pairs import NAMES, evaluate_pair_model
from service.settings import ROOT, Settings

RESULTS = ROOT / "bench" / "results"
CARD = ROOT / "docs" / "model-card.md"
REAL = ROOT.parent / "shared" / "real" / "dev.jsonl"
METRICS = {
    "accuracy": "严格准确率",
    "acceptable": "可接受准确率",
    "macro_f1": "宏平均 F1（例数 ≥ 10 的主题）",
    "acceptable_at_coverage": "最有把握的 80% 的可接受准确率",
    "ece": "期望校准误差 ECE",
}


PAIR_METRICS = {"accuracy": "准确率", "macro_f1": "三个等级的宏平均 F1", "ece": "期望校准误差 ECE"}


def main() -> None:
    """Evaluate, record, and bring the card up to date."""
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder) / "heldout.jsonl"
        joined(ROOT / "corpora" / "heldout", held_out)
        record("themes-heldout", evaluate_theme_model, held_out)
        joined(ROOT / "corpora" / "pairs" / "heldout", held_out)
        record("pairs-heldout", evaluate_pair_model, held_out)
    if REAL.is_file():
        record("themes-dev", evaluate_theme_model, REAL)
    card = CARD.read_text(encoding="utf-8")
    for name, table in (("scores", score_table()), ("pairs", pair_table())):
        card = re.sub(rf"(?s)(<!-- {name} -->\n).*?(?=<!-- end -->)", lambda m, t=table: m.group(1) + t, card)
        print(table)
    CARD.write_text(card, encoding="utf-8")


def joined(folder: Path, target: Path) -> None:
    """All parts of a corpus as one file."""
    parts = sorted(folder.glob("*.jsonl"))
    target.write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")


def record(name: str, evaluate: Callable[..., tuple[dict[str, Any], str]], path: Path) -> None:
    """Write ``<name>.json``."""
    result, _ = evaluate(path, Settings(), lambda *_: None)
    del result["errors"]
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")


def score_table() -> str:
    """Markdown of the recorded scores."""
    results = [json.loads((RESULTS / f"themes-{name}.json").read_text(encoding="utf-8")) for name in ("heldout", "dev")]
    held_out, real = (result["scores"] for result in results)
    lines = [f"| 指标 | 留出集 n = {held_out['n']} | 真实留言 n = {real['n']} |", "|---|---|---|"]
    lines += [f"| {name} | {figure(held_out[key])} | {figure(real[key])} |" for key, name in METRICS.items()]
    shares = [f"{s['accepted_share']:.3f}，其中错误 {s['accepted_error']:.3f}" for s in (held_out, real)]
    lines.append(f"| 建议采纳的比例 | {shares[0]} | {shares[1]} |")
    secondary = [f"{r['secondary']['precision']:.3f} / {r['secondary']['recall']:.3f}" for r in results]
    lines.append(f"| 次主题 精确率 / 召回率 | {secondary[0]} | {secondary[1]} |")
    return "\n".join([*lines, f"\n模型 `{results[0]['model']}`。\n"])


def pair_table() -> str:
    """Markdown of the recorded scores of the pair model."""
    result = json.loads((RESULTS / "pairs-heldout.json").read_text(encoding="utf-8"))
    scores = result["scores"]
    lines = [f"| 指标 | 留出集 n = {scores['n']} |", "|---|---|"]
    lines += [f"| {name} | {figure(scores[key])} |" for key, name in PAIR_METRICS.items()]
    lines.append(f"| 召回率 ≥ 0.85 时重复的精确率 | {result['duplicate_precision_at_recall']:.3f} |")
    lines.append(f"| 有陷阱的对误判为重复 | {result['traps_taken_for_duplicates']:.3f} |")
    lines += [
        f"| {NAMES[e['label']]}：精确率 / 召回率 / F1 | {e['precision']:.3f} / {e['recall']:.3f} / {e['f1']:.3f} |"
        for e in scores["per_label"]
    ]
    lines += ["", "| 陷阱 | 对数 | 等级判对 | 误判为重复 | 判对的之中指出了冲突 |", "|---|---|---|---|---|"]
    lines += [
        f"| {NAMES[t['trap']]} | {t['n']} | {t['right']:.3f} | {t['duplicate']:.3f} | "
        f"{'—' if t['named'] is None else format(t['named'], '.3f')} |"
        for t in result["traps"]
    ]
    return "\n".join([*lines, f"\n模型 `{result['model']}`。\n"])


def figure(estimate: dict[str, Any]) -> str:
    """Value and interval."""
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


if __name__ == "__main__":
    main()
