"""Urgency: a danger to life or public safety that the submission says is there now.

Cue words come from a data file. A cue counts only where its clause does not deny it, place it in the past or merely
suppose it: 「没有漏水，也没有火灾」 and 「一旦发生火灾」 are not urgent.
"""

from __future__ import annotations

from pathlib import Path

import regex

from nlp.contracts import Span
from nlp.document import Document
from nlp.errors import DataError

_CLAUSE = regex.compile(r"[^，。！？!?；;,\n…]+")
KINDS = ("danger", "blocked")


class UrgencyScreen:
    """Finds the sentence that makes a submission urgent. Stateless after construction."""

    def __init__(self, path: Path) -> None:
        """Read ``kind<TAB>pattern`` lines: ``danger`` cues, and ``blocked`` words that take a cue's force away."""
        patterns: dict[str, list[str]] = {kind: [] for kind in KINDS}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise DataError(path, "找不到紧急词表") from None
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            kind, _, pattern = line.partition("\t")
            if kind not in patterns or not pattern.strip():
                raise DataError(path, f"应为「{'|'.join(KINDS)}<制表符>词」，实为 {line!r}", number)
            patterns[kind].append(pattern.strip())
        if not all(patterns.values()):
            raise DataError(path, f"{'、'.join(KINDS)} 两类词都不能为空")
        try:
            self._danger, self._blocked = (regex.compile("|".join(patterns[kind])) for kind in KINDS)
        except regex.error as error:
            raise DataError(path, f"词的写法有误：{error}") from error

    def __call__(self, document: Document) -> Span | None:
        """The first urgent sentence, or None."""
        text = document.normalised.text
        for start, end in document.sentences:
            for clause in _CLAUSE.finditer(text, start, end):
                if self._danger.search(clause.group()) and not self._blocked.search(clause.group()):
                    return document.span(start, end, "URGENT")
        return None
