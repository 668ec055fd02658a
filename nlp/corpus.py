"""Labelled submissions for training and evaluation: JSON Lines, one submission a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from nlp.errors import DataError

_FEW_GRAMS = 5


@dataclass(frozen=True)
class Labelled:
    """A labelled text. ``label`` is what the model predicts (a matter id, or an office's own label).

    ``matter`` stands beside a label that is a theme, where the file gives it (evaluation only).

    ``acceptable`` lists other defensible answers (evaluation only); texts of one ``group`` never part in a split, nor,
    where asked for, texts of one ``writer`` (the file they come from).
    """

    id: str
    title: str
    text: str
    label: str
    secondary: tuple[str, ...] = ()
    acceptable: tuple[str, ...] = ()
    group: str = ""
    writer: str = ""
    matter: str = ""


def load_corpus(paths: Iterable[Path], label: str = "matter") -> list[Labelled]:
    """Read JSON Lines files; ``label`` names the field that holds the label. Raises DataError naming file and line."""
    return [_item(path, number, line, label) for path in paths for number, line in lines_of(path)]


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of the lines of a UTF-8 file that are not blank; raises DataError naming the file."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise DataError(path, "找不到语料文件") from None
    except UnicodeDecodeError as error:
        raise DataError(path, f"应为 UTF-8 编码：{error}") from error
    yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _item(path: Path, number: int, line: str, label: str) -> Labelled:
    try:
        record: dict[str, Any] = json.loads(line)
        return Labelled(
            id=str(record["id"]),
            title=record.get("title") or "",
            text=record["text"],
            label=_label(record, label),
            secondary=tuple(record.get("secondary", ())),
            acceptable=tuple(record.get("also_acceptable", ())),
            group=str(record.get("group") or record["id"]),
            writer=path.stem,
            matter=str(record.get("matter") or ""),
        )
    except json.JSONDecodeError as error:
        raise DataError(path, f"不是有效的 JSON：{error}", number) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(path, f"缺少字段 {error}", number) from error


def _label(record: dict[str, Any], name: str) -> str:
    if not isinstance(record[name], str):
        raise TypeError(f"{name!r}（应为文字）")
    return str(record[name])


def near_duplicate_groups(items: Sequence[Labelled], threshold: float = 0.5, *, by_writer: bool = False) -> list[int]:
    """A group number for each item; items share one if they share ``group`` or if their texts are near-copies.

    ``by_writer``: or if one writer wrote them. A model must read people it has never read; folds that part a writer's
    texts measure how well it knows the writer.

    Near-copies: the smaller set of character 4-grams lies to at least ``threshold`` in the larger (containment, Broder
    1997). Groups are the connected components, so no near-copy of a training text is ever in the validation fold.
    """
    parent = list(range(len(items)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    named: dict[str, int] = {}
    for i, item in enumerate(items):
        parent[root(i)] = root(named.setdefault(f"group {item.group or item.id}", i))
        if by_writer:
            parent[root(i)] = root(named.setdefault(f"writer {item.writer}", i))
    for i, j, _ in near_copies([item.title + item.text for item in items], threshold):
        parent[root(i)] = root(j)
    return [root(i) for i in range(len(items))]


def near_copies(texts: Sequence[str], threshold: float = 0.5) -> list[tuple[int, int, float]]:
    """(i, j, containment) with j < i for pairs of texts whose 4-grams overlap by ``threshold`` or more."""
    grams = []
    for text in texts:
        bare = regex.sub(r"[\W_]+", "", text)
        grams.append({bare[k : k + 4] for k in range(max(1, len(bare) - 3))} - {""})
    holders: dict[str, list[int]] = {}
    found = []
    for i, mine in enumerate(grams):
        shared: dict[int, int] = {}
        for gram in mine:
            for j in holders.setdefault(gram, []):
                shared[j] = shared.get(j, 0) + 1
            holders[gram].append(i)
        for j, count in shared.items():
            share = count / min(len(mine), len(grams[j]))
            # A few shared 4-grams say nothing of a one-liner; there only the same words count.
            if share >= threshold and (count >= _FEW_GRAMS or mine == grams[j]):
                found.append((i, j, share))
    return found
