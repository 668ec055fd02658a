"""Files of submissions → ``Reading``: which column is which, what can be stored, and what cannot with the reason.

``read`` tells a file by its content: CSV, XLSX and JSON Lines (``sheets``), DOCX (``docx``), text (``documents``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from nlp.errors import InputError
from nlp.normalise import validate
from service.archives import MAX_FILE_BYTES, IntakeError, kind_of
from service.columns import FIELDS, guess_columns
from service.dates import parse_date
from service.documents import ITEM_COLUMNS, Split, read_text
from service.docx import read_docx
from service.replies import Reply, foresee
from service.sheets import (
    REASON_COLUMN,
    ROW_COLUMN,
    SURPLUS_COLUMN,
    Row,
    Sheet,
    Unreadable,
    read_csv,
    read_jsonl,
    read_xlsx,
)
from service.store import Outcome, Store, Submission, Submitter

_LIMITS = {"source": 100, "external_id": 200, "district": 100, "name": 200, "phone": 100, "party": 100, "sector": 100,
           "kind": 100, "address": 1000}  # fmt: skip
# Rows, items and repeats that a report shows.
_SHOWN_ROWS, _SHOWN_ITEMS, _SHOWN_REPEATS = 5, 200, 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# What stands in the column of the reply while there is none.
_NO_REPLY = frozenset(
    "无 暂无 没有 未答复 未回复 待答复 待回复 暂未答复 暂未回复 尚未答复 尚未回复 未办理 待办理 办理中 正在办理 未处理 "
    "待处理 处理中 正在处理 待办 未办结 已受理 受理中 已派单 已交办 交办中 已转办 转办中 已签收".split()
)


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be stored, and why."""

    row: Row
    field: str
    detail: str


@dataclass(frozen=True)
class Item:
    """A row, the submission in it, and the reply that its source gave already."""

    row: Row
    submission: Submission
    reply: Reply | None


@dataclass(frozen=True)
class Reading:
    """A file as understood. ``mapping``: field → column; ``good`` and ``bad``: its rows, in order."""

    name: str
    sheet: Sheet
    mapping: Mapping[str, str]
    good: tuple[Item, ...]
    bad: tuple[Rejected, ...]


def read_bytes(path: Path) -> bytes:
    """The content of a file on this machine; raises IntakeError."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise IntakeError(f"{path}：文件有 {size} 字节，最多 {MAX_FILE_BYTES} 字节，请分成几个文件")
        return path.read_bytes()
    except OSError as error:
        raise IntakeError(f"{path}：文件无法读取：{error.strerror}") from error


def read(name: str, content: bytes, wanted: Collection[str] = (), split: Split = "auto") -> Sheet:
    """The rows of a file, told by its content; ``wanted``: columns by which to find the header. Raises IntakeError."""
    kind = kind_of(name, content)
    if kind in {"csv", "tsv"}:
        sheet = read_csv(name, content, "\t" if kind == "tsv" else ",", wanted)
    elif kind == "xlsx":
        sheet = read_xlsx(name, content, wanted)
    elif kind == "jsonl":
        sheet = read_jsonl(name, content)
    else:
        sheet = read_docx(name, content, split) if kind == "docx" else read_text(name, content, split)
    return _corrected(sheet) if {ROW_COLUMN, REASON_COLUMN} <= set(sheet.columns) else sheet


def _corrected(sheet: Sheet) -> Sheet:
    """A file of rejected rows that came back: each row has its old number again, and is itself again."""
    own = (ROW_COLUMN, REASON_COLUMN, SURPLUS_COLUMN)
    rows = []
    for row in sheet.rows:
        number = str(row.cells.get(ROW_COLUMN) or "").removesuffix(".0")
        cells = {column: _unguarded(cell) for column, cell in row.cells.items() if column not in own}
        rows.append(replace(row, number=int(number) if number.isdecimal() else row.number, cells=cells))
    columns = tuple(column for column in sheet.columns if column not in own)
    return replace(sheet, columns=columns, rows=tuple(rows), notes=(*sheet.notes, "这是改正后的退件表，行号沿用原文件"))


def understand(
    name: str, content: bytes, given: Mapping[str, str], source: str | None, split: Split, max_chars: int
) -> Reading:
    """Read a file and judge each row; ``given``: columns named by hand. Raises IntakeError or InputError (source)."""
    validate(source, "source", _LIMITS["source"], required=False)
    sheet = read(name, content, tuple(given.values()), split)
    if sheet.kind == "text":
        mapping = {field: column for field, column in ITEM_COLUMNS.items() if column in sheet.columns}
    else:
        mapping = guess_columns(sheet.columns, given) if sheet.columns else {}
    good, bad = [], []
    for row in sheet.rows:
        try:
            good.append(to_item(row, mapping, source, max_chars))
        except InputError as error:
            bad.append(Rejected(row, error.field, error.detail))
    return Reading(name, sheet, mapping, tuple(good), tuple(bad))


def to_item(row: Row, mapping: Mapping[str, str], source: str | None, max_chars: int) -> Item:
    """The submission in a row, and its reply; raises InputError naming the field."""
    return Item(row, to_submission(row, mapping, source, max_chars), to_reply(row, mapping, max_chars))


def to_submission(row: Row, mapping: Mapping[str, str], source: str | None, max_chars: int) -> Submission:
    """The submission in a row; raises InputError naming the field.

    Without an external id the row is identified by its number and content, so that a second import finds it again.
    """
    if row.problem:
        raise InputError("invalid_value", "row", row.problem)
    values = {name: row.cells.get(column) for name, column in mapping.items() if name in FIELDS}
    for name, value in values.items():
        if isinstance(value, Unreadable):
            raise InputError("invalid_value", name, value.reason)
    text = validate(_text(values.get("text")), "text", max_chars)
    title = validate(_text(values.get("title")), "title", max_chars, required=False)
    short = {name: _short(name, values.get(name)) for name in _LIMITS}
    content = hashlib.sha256("\n".join((title, text)).encode()).hexdigest()
    external_id = short["external_id"] or f"{row.number}-{content[:12]}"
    return Submission(
        source=source or short["source"] or "import",
        external_id=external_id,
        title=title,
        text=text,
        received_at=parse_date(values.get("received_at")),
        district=short["district"],
        address=short["address"],
        submitter=Submitter(**{f.name: short[f.name] for f in fields(Submitter)}),
    )


def to_reply(row: Row, mapping: Mapping[str, str], max_chars: int) -> Reply | None:
    """The reply in a row, None where it only says that there is none; raises InputError naming the field."""
    given = [row.cells.get(mapping[name]) if name in mapping else None for name in ("reply", "replied_at")]
    for name, value in zip(("reply", "replied_at"), given, strict=True):
        if isinstance(value, Unreadable):
            raise InputError("invalid_value", name, value.reason)
    text = validate(_text(given[0]), "reply", max_chars, required=False).strip()
    plain = re.sub(r"[\W_]+", "", text)
    return Reply(text, parse_date(given[1], "replied_at")) if plain and plain not in _NO_REPLY else None


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _short(name: str, value: object) -> str | None:
    if value is None:
        return None
    number = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return validate(number.strip(), name, _LIMITS[name], required=False) or None


def report(reading: Reading, store: Store) -> dict[str, Any]:
    """What importing would do, and how the file was understood: for confirmation before anything is stored."""
    outcomes, repeats = _foretold(reading, store)
    dates = sorted(item.submission.received_at for item in reading.good if item.submission.received_at)
    shown = _SHOWN_ITEMS if reading.sheet.kind == "text" else _SHOWN_ROWS
    used = set(reading.mapping.values())
    notes = list(reading.sheet.notes)
    if "reply" in reading.mapping:
        replied = sum(item.reply is not None for item in reading.good)
        notes.append(f"列“{reading.mapping['reply']}”是答复：{replied} 件已有答复，其中没有办理过的登记为已办结")
    return {
        "file": reading.name,
        "kind": reading.sheet.kind,
        "read": len(reading.sheet.rows),
        **{outcome: outcomes[outcome] for outcome in ("new", "revised", "unchanged", "erased")},
        "rejected": len(reading.bad),
        "columns": dict(reading.mapping),
        "unmapped": [column for column in reading.sheet.columns if column not in used],
        "received_from": dates[0] if dates else None,
        "received_to": dates[-1] if dates else None,
        "undated": sum(item.submission.received_at is None for item in reading.good),
        "repeats": repeats[:_SHOWN_REPEATS],
        "repeated": len(repeats),
        "notes": notes,
        "first": [_outline(item) for item in reading.good[:shown]],
        "rejects": [{"row": r.row.number, "field": r.field, "detail": r.detail} for r in reading.bad[:_SHOWN_ITEMS]],
    }


def _outline(item: Item) -> dict[str, Any]:
    reply = item.reply or Reply("")
    return {"row": item.row.number, **asdict(item.submission), "reply": reply.text, "replied_at": reply.at}


def _foretold(reading: Reading, store: Store) -> tuple[Counter[Outcome], list[dict[str, Any]]]:
    """What storing row by row would do, and the rows that repeat an earlier one of the file (number or content)."""
    outcomes: Counter[Outcome] = Counter()
    repeats = []
    last: dict[tuple[str, str], tuple[int, str, Reply | None]] = {}
    written: dict[tuple[str, str], int] = {}
    for item in reading.good:
        row, submission = item.row, item.submission
        identity, digest = (submission.source, submission.external_id), submission.sha256()
        content = (submission.title, submission.text)
        if identity in last:
            repeats.append({"row": row.number, "earlier": last[identity][0], "same": "external_id"})
            _, before, replied = last[identity]
            outcomes["unchanged" if before == digest and item.reply in {None, replied} else "revised"] += 1
        else:
            if content in written:
                repeats.append({"row": row.number, "earlier": written[content], "same": "text"})
            outcomes[foresee(store, submission, item.reply)[1]] += 1
        last[identity] = (row.number, digest, item.reply or last.get(identity, (0, "", None))[2])
        written.setdefault(content, row.number)
    return outcomes, repeats


def rejects_csv(columns: Sequence[str], rejected: Iterable[Rejected]) -> str:
    """A file of the rejected rows with number and reason, to be corrected and imported again."""
    bad = sorted(rejected, key=lambda r: r.row.number)
    surplus = any(r.row.surplus for r in bad)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([*map(guarded, columns), *([SURPLUS_COLUMN] if surplus else []), ROW_COLUMN, REASON_COLUMN])
    for one in bad:
        cells = [guarded(_shown(one.row.cells.get(column))) for column in columns]
        extra = [guarded(one.row.surplus)] if surplus else []
        writer.writerow([*cells, *extra, one.row.number, guarded(f"{one.field}：{one.detail}")])
    return stream.getvalue()


def _shown(cell: Any) -> Any:
    return f"（{cell.reason}）" if isinstance(cell, Unreadable) else cell


def guarded(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _unguarded(value: Any) -> Any:
    return value[1:] if isinstance(value, str) and value[:1] == "'" and value[1:].startswith(_FORMULA) else value
