"""Secrecy marks (密级标志): a file that bears one is refused whole.

A mark is a line of its own, a page header or footer, or a cell of a column for it — never the word 秘密 in a sentence.
With a star (秘密★5年) it is a mark wherever it stands: the star has no other use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from service.archives import ClassifiedFile

_BLANKS = re.compile(r"[\s\u3000]+")
_GAP = re.compile(r"[ \t\u3000\xa0]{2,}|\t")
_STARRED = re.compile(r"(?:绝密|机密|秘密|内部)[★☆](?:长期|\d+年|\d+个月)?")
_LABEL = r"(?:密级|保密级别|保密等级|涉密等级|密级和保密期限)"
_LEVEL = r"(?:绝密|机密|秘密|工作秘密)(?:级|件)?"
_TERM = r"[★☆*\uff0a]?(?:长期|\d+年|[一二三五十]+年|\d+个月)"
_OPEN, _CLOSE = r"[\[【（(「《]*", r"[\]】）)」》]*"
# Beyond doubt even in a cell of ordinary text.
_PLAIN = re.compile(
    rf"{_OPEN}(?:{_LABEL}[:：]{_LEVEL}(?:{_TERM})?|{_LEVEL}{_TERM}"
    rf"|内部(?:资料|材料|文件|情况|信息|刊物)?[，,、·:：;；。—-]*(?:请)?注意保密[!！。]?){_CLOSE}"
)
# Only where marks stand: on a line of its own, in a header, in a column for it.
_BARE = re.compile(rf"{_OPEN}{_LEVEL}[★☆*\uff0a]?{_CLOSE}")


def mark_in(text: str, *, bare: bool) -> str | None:
    """The first secrecy mark in ``text``; ``bare``: whether a level alone on a line (秘密) is one."""
    if "密" not in text and "内部" not in text:
        return None
    for line in text.splitlines():
        starred = _STARRED.search(_BLANKS.sub("", line))
        if starred:
            return starred.group()
        for segment in (line, *_GAP.split(line.strip())):
            found = _BLANKS.sub("", segment)
            if _PLAIN.fullmatch(found) or (bare and _BARE.fullmatch(found)):
                return found
    return None


def refuse_lines(name: str, where: str, lines: Iterable[str], *, bare: bool = True) -> None:
    """Raise ClassifiedFile where one of these lines is a mark; ``where`` says what they are."""
    for number, line in enumerate(lines, 1):
        _refuse(name, f"{where}第 {number} 行", mark_in(line, bare=bare))


def refuse_cells(name: str, where: str, cells: Mapping[str, Any]) -> None:
    """Raise ClassifiedFile where a row of a table bears a mark, in a column for it or plainly in any other."""
    for column, value in cells.items():
        if isinstance(value, str):
            _refuse(name, f"{where}（{column}）", mark_in(value, bare="密" in column))


def _refuse(name: str, where: str, mark: str | None) -> None:
    if mark is not None:
        raise ClassifiedFile(
            f"{name}：{where}带有密级标志“{mark}”，整个文件不予导入；请按保密规定办理，不要在本系统中处理"
        )
