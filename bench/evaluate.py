"""Scores of the shipped model on the held-out set and, where it is present, on real messages.

Writes bench/results/themes-<set>.json (figures only, no texts) and the score table of docs/model-card.md.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from service.learning import evaluate_theme_model
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


def main() -> None:
    """Evaluate, record, and bring the card up to date."""
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder) / "heldout.jsonl"
        parts = sorted((ROOT / "corpora" / "heldout").glob("*.jsonl"))
        held_out.write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")
        record("heldout", held_out)
    if REAL.is_file():
        record("dev", REAL)
    table = score_table()
    card = CARD.read_text(encoding="utf-8")
    CARD.write_text(
        re.sub(r"(?s)(<!-- scores -->\n).*?(?=<!-- end -->)", lambda m: m.group(1) + table, card), encoding="utf-8"
    )
    print(table)


def record(name: str, path: Path) -> None:
    """Write ``themes-<name>.json``."""
    result, _ = evaluate_theme_model(path, Settings(), lambda *_: None)
    del result["errors"]
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    (RESULTS / f"themes-{name}.json").write_text(text, encoding="utf-8")


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


def figure(estimate: dict[str, Any]) -> str:
    """Value and interval."""
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**estimate)


if __name__ == "__main__":
    main()
