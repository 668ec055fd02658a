"""Validation and normalisation of submitted text, with a map back to the text as submitted.

Per grapheme cluster (UAX #29): letters and digits of compatibility forms become plain ones (NFKC); enclosed and
superscript digits and CJK punctuation stay as they are, because NFKC turns ``2021①`` into ``20211`` and ``3，4`` into
``3,4``; invisible format characters go; then traditional characters become simplified (OpenCC ``t2s``).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import regex
from opencc import OpenCC

from nlp.errors import InputError

MAX_CHARS = 20_000
_CLUSTER = regex.compile(r"\X")
# Decimal digits and letters of full width, ligatures, squared units: what NFKC is wanted for.
_FOLDED = regex.compile(r"[\p{L}\p{Nd}\p{M}\p{So}\p{Zs}]+")


@dataclass(frozen=True)
class Normalised:
    """``text`` and, for each of its characters, the stretch [starts[i], ends[i]) of the original it came from."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Offsets in the original of the normalised stretch [start, end), which must not be empty."""
        return self.starts[start], self.ends[end - 1]


def validate(value: object, field: str, max_chars: int = MAX_CHARS, *, required: bool = True) -> str:
    """Return ``value`` if it is text that can be analysed; raise InputError naming ``field`` otherwise."""
    if value is None and not required:
        return ""
    if value is None:
        raise InputError("missing_field", field, "缺少该字段")
    if not isinstance(value, str):
        raise InputError("invalid_type", field, f"应为文字，实为 {type(value).__name__}")
    if len(value) > max_chars:
        raise InputError("too_long", field, f"最多 {max_chars} 个字符，实为 {len(value)} 个")
    for index, character in enumerate(value):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            kind = "空字符 U+0000" if character == "\0" else f"不成对的代理码 U+{ord(character):04X}"
            raise InputError("invalid_character", field, f"第 {index + 1} 个字符是{kind}，不是有效文字")
    if required and all(c.isspace() or unicodedata.category(c) in _UNSEEN for c in value):
        raise InputError("empty", field, "内容为空")
    return value


def normalise(text: str) -> Normalised:
    """Normalise ``text``; the result is never longer in lines, and every character maps back."""
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _CLUSTER.finditer(text):
        piece = _fold(match.group())
        pieces.append(piece)
        starts.extend([match.start()] * len(piece))
        ends.extend([match.end()] * len(piece))
    return Normalised(_simplify("".join(pieces)), tuple(starts), tuple(ends))


def _fold(cluster: str) -> str:
    if cluster == "\r\n" or cluster in "\r\u2028\u2029\x0b\x0c\x85":
        return "\n"
    if len(cluster) == 1 and unicodedata.category(cluster) in _UNSEEN and cluster not in "\n\t":
        return ""
    if len(cluster) > 1 and cluster[0].isalnum():  # a joiner or selector after a letter or digit only hides it
        cluster = cluster[0] + "".join(c for c in cluster[1:] if c not in _JOINERS)
    return (
        unicodedata.normalize("NFKC", cluster) if _FOLDED.fullmatch(cluster) and cluster not in _ENCLOSED else cluster
    )


# Categories of characters that show nothing: a text of nothing else is empty.
_UNSEEN = frozenset({"Cf", "Cc"})
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")
# Category So, but digits or words to a reader: ㈠ ㊀ 🄀 and their kin would glue to the digits before them.
_ENCLOSED = frozenset(chr(c) for block in (range(0x2460, 0x2500), range(0x3200, 0x3250), range(0x3280, 0x32C0),
                                           range(0x1F100, 0x1F110)) for c in block)  # fmt: skip


@cache
def _converter() -> OpenCC:
    return OpenCC("t2s")


def _simplify(text: str) -> str:
    converted = _converter().convert(text)
    if len(converted) == len(text):
        return str(converted)
    # A phrase rule changed the length: fall back to characters, which keeps the map true.
    singles = (_converter().convert(c) for c in text)
    return "".join(s if len(s) == 1 else c for c, s in zip(text, singles, strict=True))
