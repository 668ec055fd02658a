"""Screening: what is urgent, what kind of request it is, and what belongs in another channel.

All words are data in ``corpora/screening``; the code only reads them:

- ``urgent.tsv``: a danger counts unless its clause denies it, or its sentence places it in the past, supposes it,
  speaks in general or says that it is settled. A sentence is urgent from a score of 2.
- ``kinds.tsv`` and ``flags.tsv``: weighted cues for and against each label. The likeliest kind is the answer; a flag
  stands from a score of 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
from scipy.special import softmax

from nlp.contracts import Flag, Screening, Span
from nlp.document import Document
from nlp.errors import DataError
from nlp.lexicon import rows

URGENT_COLUMNS = ("role", "kind", "pattern")
CUE_COLUMNS = ("label", "role", "weight", "pattern")
# What a danger weighs by itself; one that needs the present beside it weighs half of what makes a sentence urgent.
WEIGHTS = {"acute": 2, "threat": 2, "latent": 1}
ROLES = (*WEIGHTS, "now", "denial", "past", "supposition", "general", "settled", "figure")
# What takes the force of a danger away; a threat is one however it is put.
_WEAKENED = {"acute": ("past", "supposition", "general"), "latent": ("past", "supposition", "general"),
             "threat": ("past",)}  # fmt: skip
_ENOUGH = 2
# A denial reaches this many characters ahead within its clause: 「没有发生任何火灾」.
_REACH = 6
KINDS = ("咨询", "求助", "投诉", "举报", "建议", "表扬")
FLAGS = ("涉法涉诉", "指名举报", "个人事项", "内容空泛")
CUE_ROLES = ("title", "text", "matter", "kind")
_CLAUSE = regex.compile(r"[^，,、：:\s]+")
Pattern = Any


class UrgencyScreen:
    """Finds the sentence that makes a submission urgent. Stateless after construction."""

    def __init__(self, path: Path) -> None:
        """Read the list; raises DataError naming file and line."""
        patterns: dict[str, list[str]] = {role: [] for role in ROLES}
        for line, row in rows(path, URGENT_COLUMNS):
            if row["role"] not in patterns:
                raise DataError(path, f"role 是 {row['role']!r}，应为 {'、'.join(ROLES)} 之一", line)
            patterns[row["role"]].append(_compiled(path, line, row["pattern"]).pattern)
        lacking = [role for role, found in patterns.items() if not found]
        if lacking:
            raise DataError(path, f"缺少 {'、'.join(lacking)} 的词")
        self._patterns = {role: regex.compile("|".join(found)) for role, found in patterns.items()}

    def __call__(self, document: Document) -> Span | None:
        """The most urgent sentence, the first of equals, or None."""
        text = document.normalised.text
        scored = [(self.score(text[start:end]), start, end) for start, end in document.sentences]
        score, start, end = max(scored, key=lambda item: (item[0], -item[1]), default=(0, 0, 0))
        return document.span(start, end, "URGENT") if score >= _ENOUGH else None

    def score(self, sentence: str) -> int:
        """How urgent a sentence is: 2 for each standing danger, 1 for each doubtful one and for words of the present.

        0 where no danger stands.
        """
        text = self._patterns["figure"].sub(lambda m: "*" * len(m.group()), sentence)
        found = {role: list(self._patterns[role].finditer(text)) for role in ROLES}
        clauses = [m.span() for m in _CLAUSE.finditer(text)]
        total = sum(
            weight for role, weight in WEIGHTS.items()
            for cue in found[role] if self._stands(role, cue, found, clauses)
        )  # fmt: skip
        return total + bool(found["now"]) if total else 0

    def _stands(self, role: str, cue: Any, found: dict[str, list[Any]], clauses: list[tuple[int, int]]) -> bool:
        start, end = cue.span()
        clause = next(((a, b) for a, b in clauses if a <= start < b), (start, end))
        if any(clause[0] <= d.start() and d.end() <= start <= d.end() + _REACH for d in found["denial"]):
            return False
        if any(s.end() <= start or s.start() >= end for s in found["settled"]):
            return False
        present = [n.start() for n in found["now"]]
        for weakening in _WEAKENED[role]:
            for word in found[weakening]:
                overlaps = word.start() < end and start < word.end()
                before = word.end() <= start and not any(word.end() <= n <= end for n in present)
                if not overlaps and (before or clause[0] <= word.start() < clause[1]):
                    return False
        return True


def _compiled(path: Path, line: int, pattern: str) -> Pattern:
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise DataError(path, f"{pattern!r} 不是有效的正则表达式：{error}", line) from error


@dataclass(frozen=True)
class _Cue:
    """A pattern over title, text, or the matter or kind already found, and what it weighs for a label."""

    role: str
    weight: float
    pattern: Pattern
    channel: str


@dataclass(frozen=True)
class _Reading:
    """The cues of one label: their sum, where in the normalised text the heaviest stands, and its channel.

    ``place`` is None where nothing in the text speaks for the label; the channel is then another cue's.
    """

    weight: float
    place: tuple[int, int] | None
    channel: str


class _Labels:
    """Weighted cues of a closed set of labels, from a data file."""

    def __init__(self, path: Path, labels: tuple[str, ...], columns: tuple[str, ...]) -> None:
        definitions: dict[str, str] = {}
        self._cues: dict[str, list[_Cue]] = {label: [] for label in labels}
        for line, row in rows(path, columns):
            pattern = row["pattern"]
            for name, inner in definitions.items():
                pattern = pattern.replace(f"{{{name}}}", inner)
            compiled = _compiled(path, line, pattern)
            if row["role"] == "define":
                definitions[row["label"]] = pattern
                continue
            if row["role"] not in CUE_ROLES:
                raise DataError(path, f"role 是 {row['role']!r}，应为 {'、'.join(CUE_ROLES)}、define 之一", line)
            if row["label"] not in self._cues:
                raise DataError(path, f"label 是 {row['label']!r}，应为 {'、'.join(labels)} 之一", line)
            weight = _number(path, line, row["weight"])
            self._cues[row["label"]].append(_Cue(row["role"], weight, compiled, row.get("channel", "")))
        lacking = [label for label, cues in self._cues.items() if not cues]
        if lacking:
            raise DataError(path, f"缺少 {'、'.join(lacking)} 的词")

    def __call__(self, **given: str) -> dict[str, _Reading]:
        """Label → reading; ``given`` holds what each role is matched against."""
        return {label: _read(cues, given) for label, cues in self._cues.items()}


def _read(cues: Iterable[_Cue], given: dict[str, str]) -> _Reading:
    total, place, channel = 0.0, None, ""
    heaviest = (False, 0.0)  # words of the text before anything else, then the weight
    for cue in cues:
        # Title and text hold a cue anywhere; a matter or kind is matched whole.
        value = given.get(cue.role, "")
        match = cue.pattern.search(value) if cue.role in {"title", "text"} else cue.pattern.fullmatch(value)
        if match is None:
            continue
        total += cue.weight
        rank = (cue.role == "text", cue.weight)
        if cue.weight > 0 and rank > heaviest:
            heaviest, channel = rank, cue.channel
            place = match.span() if cue.role == "text" else None
    return _Reading(total, place, channel)


class Screen:
    """Screens submissions: urgency, kind of request, flags. Stateless after construction."""

    def __init__(self, folder: Path) -> None:
        """Read the lists of ``corpora/screening``; raises DataError naming file and line."""
        self.urgency = UrgencyScreen(folder / "urgent.tsv")
        self._kinds = _Labels(folder / "kinds.tsv", KINDS, CUE_COLUMNS)
        self._flags = _Labels(folder / "flags.tsv", FLAGS, (*CUE_COLUMNS, "channel"))

    def __call__(self, document: Document, matter: str = "") -> Screening:
        """The screening of a document; ``matter`` is the id the theme model gives it, where there is one."""
        given = {"title": document.title, "text": document.normalised.text, "matter": matter}
        kinds = self._kinds(**given)
        probabilities = softmax([reading.weight for reading in kinds.values()])
        best = int(probabilities.argmax())
        kind = KINDS[best]
        place = kinds[kind].place
        cue = document.span(*place, "KIND") if place else None
        flags = tuple(
            # Where only the matter speaks for it, the first sentence stands for the whole.
            Flag(label, document.span(*(reading.place or document.sentences[0]), "FLAG"), reading.channel)
            for label, reading in self._flags(**given, kind=kind).items()
            if reading.weight >= _ENOUGH
        )
        return Screening(self.urgency(document), kind, float(probabilities[best]), cue, flags)


def _number(path: Path, line: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise DataError(path, f"weight 是 {cell!r}，应为数字", line) from None
