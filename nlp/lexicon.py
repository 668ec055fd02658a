"""Word lists: the project's dictionary and gazetteer, which an office edits in a text editor, and jieba's own.

The first two are TSV files with a header; lines that begin with ``#`` are comments. An entry's aliases (separated by
``;``) are recognised like the entry itself and resolve to its name.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nlp.errors import DataError

LEXICON_COLUMNS = ("word", "tag", "aliases", "source")
GAZETTEER_COLUMNS = ("name", "kind", "district", "aliases", "note")
# In place of a district: of cities and counties that are not the office's own.
ELSEWHERE = "外地"
LEXICON_TAGS = {"policy": "POLICY", "facility": "FACILITY", "unit": "UNIT", "term": ""}
GAZETTEER_KINDS = frozenset(
    [
        "district",
        "street",
        "town",
        "road",
        "estate",
        "river",
        "park",
        "scenic",
        "industrial_zone",
        "metro",
        "hub",
        "school",
        "hospital",
        "city",
        "old_name",
    ]
)


@dataclass(frozen=True)
class Entry:
    """A surface form: what it stands for (``canonical``), its entity label ("" for a plain term) and district."""

    surface: str
    canonical: str
    label: str
    district: str | None = None


def load_entries(corpora: Path) -> dict[str, Entry]:
    """Surface form → Entry from both lists; raises DataError naming file and line.

    A form in both lists keeps its gazetteer reading: a named place says more than a kind of thing.
    """
    entries: dict[str, Entry] = {}
    lexicon = corpora / "lexicon" / "lexicon.tsv"
    for line, row in rows(lexicon, LEXICON_COLUMNS):
        if row["tag"] not in LEXICON_TAGS:
            raise DataError(lexicon, f"tag 是 {row['tag']!r}，应为 {'、'.join(LEXICON_TAGS)} 之一", line)
        _add(entries, lexicon, line, row["word"], row["aliases"], LEXICON_TAGS[row["tag"]], None)
    gazetteer = corpora / "gazetteer" / "gazetteer.tsv"
    places: dict[str, Entry] = {}
    for line, row in rows(gazetteer, GAZETTEER_COLUMNS):
        if row["kind"] not in GAZETTEER_KINDS:
            raise DataError(gazetteer, f"kind 是 {row['kind']!r}，应为 {'、'.join(sorted(GAZETTEER_KINDS))} 之一", line)
        district = row["name"] if row["kind"] == "district" else row["district"] or None
        _add(places, gazetteer, line, row["name"], row["aliases"], "PLACE", district)
    return entries | places


def _add(
    entries: dict[str, Entry], path: Path, line: int, name: str, aliases: str, label: str, district: str | None
) -> None:
    for surface in [name, *filter(None, (alias.strip() for alias in aliases.split(";")))]:
        if len(surface) < 2:
            raise DataError(path, f"词条 {surface!r} 太短，至少两个字", line)
        if surface in entries:
            raise DataError(path, f"词条 {surface!r} 重复", line)
        entries[surface] = Entry(surface, name, label, district)


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column → cell) of a TSV data file with this header; raises DataError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(path, "找不到词表文件") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"应为 UTF-8 编码：{error}") from error
    numbered = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not numbered or tuple(numbered[0][1].split("\t")) != columns:
        raise DataError(path, f"表头应为 {'、'.join(columns)}（以制表符分隔）", numbered[0][0] if numbered else None)
    for number, line in numbered[1:]:
        cells = next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))
        if len(cells) != len(columns):
            raise DataError(path, f"应有 {len(columns)} 列，实有 {len(cells)} 列", number)
        yield number, dict(zip(columns, (cell.strip() for cell in cells), strict=True))


def jieba_entries() -> Iterator[tuple[str, int, str]]:
    """(word, how often it was met, part of speech) of jieba's own dictionary, 350,000 entries; read anew each time."""
    import jieba  # noqa: PLC0415  (commands that read no text start without it)

    with jieba.Tokenizer().get_dict_file() as stream:
        for line in stream:
            fields = line.decode("utf-8").split()
            if len(fields) == 3:
                yield fields[0], int(fields[1]), fields[2]
