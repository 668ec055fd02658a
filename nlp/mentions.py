"""What a text names — places, facilities and units, numbers that identify, years — and what it asks for or against.

Two texts whose mentions cannot be the same thing are two matters, however alike they read. The words come from
``corpora/matching/matching.tsv``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from nlp.contracts import Conflict, ConflictKind
from nlp.document import Document
from nlp.errors import DataError
from nlp.lexicon import rows

COLUMNS = ("kind", "group", "words")
KINDS = ("suffix", "for", "against", "unit", "amount")
_YEAR = regex.compile(r"(?<!\d)((?:19|20)\d{2})(?=\s?(?:年|[—\-～至/.]|届|级|学年))")
_ADMINISTRATIVE = regex.compile(r"(?:省|市|(?<![小社园校景片厂])区|县|州|镇|乡|街道)$")
# Characters that no name is made of.
_FUNCTIONAL = "的了是在和与把被我你他她们这那有没不就都也很到从对向为要请各该本某每个"
_DIGITS = {c: n for n, c in enumerate("零一二三四五六七八九")} | {"两": 2}
_NUMERAL = r"[A-Za-z]?\d+(?:\.\d+)?|[零一二两三四五六七八九十]{1,4}"

Stretch = tuple[int, int]
# What is mentioned → where it first stands in the normalised text.
Found = dict[str, Stretch]


@dataclass(frozen=True)
class Mentions:
    """Mentions of one text.

    names: suffix → two-character stems (「清水」 of 清水农贸市场); places: place entities by canonical name; objects:
    facilities and units likewise; numbers, amounts: unit → values; years; stances: for each group, where it argues for
    and where against.
    """

    names: dict[str, Found]
    places: Found
    objects: Found
    numbers: dict[str, Found]
    amounts: dict[str, Found]
    years: Found
    stances: tuple[tuple[tuple[Stretch, ...], tuple[Stretch, ...]], ...]

    @property
    def stems(self) -> frozenset[str]:
        """Stems of all names."""
        return frozenset(stem for found in self.names.values() for stem in found)

    @property
    def districts(self) -> frozenset[str]:
        """Administrative places: provinces down to streets and towns."""
        return frozenset(place for place in self.places if _ADMINISTRATIVE.search(place))


class MentionFinder:
    """Finds Mentions. Stateless after construction.

    ``common``: how many texts of the background hold a character pair or triple; a stem that is an everyday word names
    nothing.
    """

    def __init__(self, path: Path, common: Mapping[str, int]) -> None:
        lists: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
        for line, row in rows(path, COLUMNS):
            if row["kind"] not in KINDS:
                raise DataError(path, f"kind 是 {row['kind']!r}，应为 {'、'.join(KINDS)} 之一", line)
            lists[row["kind"]].setdefault(row["group"], []).extend(row["words"].split())
        if lists["for"].keys() != lists["against"].keys() or not all(lists.values()):
            raise DataError(path, "每类词都要有，for 与 against 的组名要成对")
        self._common = common
        suffixes = sorted((s for words in lists["suffix"].values() for s in words), key=len, reverse=True)
        # A look-ahead, so that names inside names are found too: 南湖花园小区.
        self._name = regex.compile(rf"(?=([\u4e00-\u9fff--[{_FUNCTIONAL}]]{{2}})({'|'.join(suffixes)}))", regex.V1)
        self._identifying = {word: unit for unit, words in lists["unit"].items() for word in words}
        self._counting = {word: unit for unit, words in lists["amount"].items() for word in words}
        units = sorted({**self._identifying, **self._counting}, key=len, reverse=True)
        self._number = regex.compile(rf"({_NUMERAL})\s?({'|'.join(units)})")
        self._stances = [(_any(words), _any(lists["against"][group])) for group, words in lists["for"].items()]

    def __call__(self, document: Document) -> Mentions:
        """The mentions of one document."""
        text = document.normalised.text
        numbers: dict[str, Found] = {}
        amounts: dict[str, Found] = {}
        for match in self._number.finditer(text):
            value = _value(match[1])
            if value is not None:
                kind, units = (
                    (numbers, self._identifying) if match[2] in self._identifying else (amounts, self._counting)
                )
                kind.setdefault(units[match[2]], {}).setdefault(value, match.span())
        years: Found = {}
        for match in _YEAR.finditer(text):
            years.setdefault(match[1], match.span())
        stances = tuple(
            (tuple(m.span() for m in f.finditer(text)), tuple(m.span() for m in a.finditer(text)))
            for f, a in self._stances
        )
        places, objects = _places_and_objects(document)
        return Mentions(self._names(text), places, objects, numbers, amounts, years, stances)

    def _names(self, text: str) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for match in self._name.finditer(text):
            stem, suffix = match[1], match[2]
            if self._common.get(stem + suffix[0], 0) <= _RARE_NAME and self._common.get(stem, 0) <= _RARE_STEM:
                found.setdefault(suffix, {}).setdefault(stem, (match.start(1), match.end(2)))
        return found


# In how many background texts a stem with the first character of its suffix, and the stem alone, may stand.
_RARE_NAME = 4
_RARE_STEM = 60


def _any(words: Iterable[str]) -> Any:
    return regex.compile("|".join(sorted(words, key=len, reverse=True)))


def _places_and_objects(document: Document) -> tuple[Found, Found]:
    """Place entities, and facilities and units, by canonical name; offsets brought back to the normalised text."""
    starts = document.normalised.starts
    position = {original: index for index, original in reversed(list(enumerate(starts)))}
    places: Found = {}
    objects: Found = {}
    kinds = {"PLACE": places, "FACILITY": objects, "UNIT": objects}
    for entity in document.entities:
        if entity.label in kinds:
            shift = document.body_start if entity.field == "text" else 0
            begin = position.get(shift + entity.start)
            if begin is not None:
                stretch = begin, begin + entity.end - entity.start
                kinds[entity.label].setdefault(entity.canonical or entity.text, stretch)
    return places, objects


def _value(numeral: str) -> str | None:
    """A numeral in one spelling: 「13」 for 十三; None where it is none."""
    if numeral[0].isascii():
        return numeral.upper().removesuffix(".0")
    before, ten, after = numeral.partition("十")
    if ten:
        if len(before) > 1 or len(after) > 1 or "十" in after:
            return None
        return str(10 * _DIGITS.get(before, 1) + _DIGITS.get(after, 0))
    return str(int("".join(str(_DIGITS[c]) for c in numeral)))


def same_name(a: str, b: str) -> bool:
    """One may be the short form of the other."""
    return a in b or b in a


def any_same(a: Iterable[str], b: Iterable[str]) -> bool:
    """Whether any name of one is, or may be the short form of, one of the other."""
    return any(same_name(x, y) for x in a for y in b)


def opposed(a: Mentions, b: Mentions) -> list[float]:
    """For each group of stances, the product of the two texts' leanings in [-1, 1]: below 0 where they differ."""

    def leaning(mentions: Mentions) -> list[float]:
        return [(len(f) - len(g)) / (1 + len(f) + len(g)) for f, g in mentions.stances]

    return [x * y for x, y in zip(leaning(a), leaning(b), strict=True)]


def conflicts(a: Document, a_mentions: Mentions, b: Document, b_mentions: Mentions) -> tuple[Conflict, ...]:
    """What cannot be the same thing in two texts, at most one of a kind: place, object, number, time, polarity."""
    found: list[tuple[ConflictKind, Stretch, Stretch]] = []
    place = _different_place(a_mentions, b_mentions)
    if place is not None:
        found.append(("place", *place))
    a_objects, b_objects = a_mentions.objects, b_mentions.objects
    if a_objects and b_objects and not any_same(a_objects, b_objects):
        found.append(("object", next(iter(a_objects.values())), next(iter(b_objects.values()))))
    number = _disjoint(a_mentions.numbers, b_mentions.numbers)
    if number is not None:
        found.append(("number", *number))
    if a_mentions.years and b_mentions.years and not a_mentions.years.keys() & b_mentions.years.keys():
        found.append(("time", next(iter(a_mentions.years.values())), next(iter(b_mentions.years.values()))))
    stance = _opposed_words(a_mentions, b_mentions)
    if stance is not None:
        found.append(("polarity", *stance))
    return tuple(Conflict(kind, a.span(*x, "CONFLICT"), b.span(*y, "CONFLICT")) for kind, x, y in found)


def _different_place(a: Mentions, b: Mentions) -> tuple[Stretch, Stretch] | None:
    """Names with the same ending and other stems; else, where no name is shared, districts that do not meet."""
    names = _disjoint(a.names, b.names)
    if names is not None or a.stems & b.stems:
        return names
    if a.districts and b.districts and not any_same(a.districts, b.districts):
        return a.places[min(a.districts)], b.places[min(b.districts)]
    return None


def _disjoint(a: Mapping[str, Found], b: Mapping[str, Found]) -> tuple[Stretch, Stretch] | None:
    """Under the first key that both have without a value in common, the first value of each."""
    for key, found in a.items():
        other = b.get(key)
        if other and not found.keys() & other.keys():
            return next(iter(found.values())), next(iter(other.values()))
    return None


def _opposed_words(a: Mentions, b: Mentions) -> tuple[Stretch, Stretch] | None:
    """The last words for and against in the group where the two texts differ most; demands stand last."""
    products = opposed(a, b)
    worst = min(range(len(products)), key=products.__getitem__)
    if products[worst] >= 0:
        return None
    (a_for, a_against), (b_for, b_against) = a.stances[worst], b.stances[worst]
    return (a_for[-1], b_against[-1]) if len(a_for) > len(a_against) else (a_against[-1], b_for[-1])
