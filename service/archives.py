"""What a file really is, told by its content, and whether it is safe to open.

    IntakeError              the file as a whole cannot be read
    └── ClassifiedFile       it bears a secrecy mark (see ``service.secrecy``)

XLSX and DOCX are ZIP archives of XML: their sizes are checked before anything is unpacked (Python's reader stops at the
sizes that the directory states), archives within are never opened, and document type definitions are refused.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from contextlib import closing
from pathlib import PurePosixPath
from typing import IO, Any, Literal
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring, iterparse

from nlp.errors import MinshengError

Kind = Literal["csv", "tsv", "jsonl", "xlsx", "docx", "text"]
# One file on the command line; an upload is bounded by the size of a request.
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 2000
MAX_UNPACKED = 128 * 1024 * 1024
# Office tables shrink to a tenth; only large parts are judged, small ones of one repeated word may shrink further.
MAX_RATIO = 200
_JUDGED_FROM = 8 * 1024 * 1024
_MAX_NAME = 200
_SAVE_AS = "请另存为 .docx/.xlsx 再导入"
_BY_SUFFIX: dict[str, Kind] = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text", ".xlsx": "xlsx",
    ".xlsm": "xlsx", ".docx": "docx",
}  # fmt: skip
_OLD = frozenset({".xls", ".et", ".doc", ".wps", ".pdf", ".rtf", ".ofd", ".xlsb", ".ods", ".odt"})
_MAGIC = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "是旧版 Office、WPS 格式或设了打开密码"),
    (b"%PDF", "是 PDF"),
    (b"{\\rtf", "是 RTF"),
)


class IntakeError(MinshengError):
    """The file as a whole cannot be read; the message names it, what was expected and what was found."""


class ClassifiedFile(IntakeError):
    """The file bears a secrecy mark and must not be handled here."""


def plain_name(name: str | None) -> str:
    """A file name as sent by anyone, for showing only: no folders, no control characters, at most 200 characters."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c.isprintable() and not "\ud800" <= c <= "\udfff").strip(" .")
    return shown[-_MAX_NAME:] or "未命名"


def kind_of(name: str, content: bytes) -> Kind:
    """What to read a file as, by content first and ending second; raises IntakeError for what is not supported."""
    head = content[:1024].lstrip()
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise IntakeError(f"{name}：{what}，{_SAVE_AS}")
    suffix = PurePosixPath(name).suffix.lower()
    if content.startswith(b"PK\x03\x04"):
        with closing(open_archive(name, content)) as archive:
            names = set(archive.namelist())
        if "xl/workbook.xml" in names:
            return "xlsx"
        if "[Content_Types].xml" in names and any(part.startswith("word/") for part in names):
            return "docx"
        raise IntakeError(f"{name}：既不是 XLSX 也不是 DOCX，{_SAVE_AS}")
    if suffix in _OLD:
        raise IntakeError(f"{name}：不支持 {suffix} 格式，{_SAVE_AS}")
    kind = _BY_SUFFIX.get(suffix)
    if kind is None:
        raise IntakeError(f"{name}：无法识别的文件类型 {suffix!r}，应为 {'、'.join(_BY_SUFFIX)}")
    if kind in {"xlsx", "docx"}:
        raise IntakeError(f"{name}：不是有效的 {kind.upper()} 文件，{_SAVE_AS}")
    return kind


def open_archive(name: str, content: bytes) -> zipfile.ZipFile:
    """The archive, after its sizes have been found bearable; raises IntakeError."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise IntakeError(f"{name}：文件已损坏，无法打开（{error}）") from error
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    problem = None
    if len(entries) > MAX_ENTRIES:
        problem = f"内含 {len(entries)} 个部分，最多 {MAX_ENTRIES} 个"
    elif unpacked > MAX_UNPACKED:
        problem = f"展开后有 {unpacked} 字节，最多 {MAX_UNPACKED} 字节"
    elif any(e.file_size > max(_JUDGED_FROM, MAX_RATIO * e.compress_size) for e in entries):
        problem = f"压缩比超过 {MAX_RATIO} 倍，不像正常的文件"
    elif any(entry.flag_bits & 1 for entry in entries):
        problem = "设了密码，请取消密码再导入"
    if problem:
        archive.close()
        raise IntakeError(f"{name}：{problem}")
    return archive


def xml_root(name: str, archive: zipfile.ZipFile, part: str) -> Element:
    """The root element of a part of the archive; raises IntakeError."""
    try:
        root: Element = fromstring(archive.read(part), forbid_dtd=True)
    except Exception as error:
        raise damaged(name, part, error) from error
    return root


def refuse_doctypes(name: str, archive: zipfile.ZipFile) -> None:
    """Raise IntakeError where any XML part has a document type definition: it stands before the first element.

    For parts that are parsed by others. A part that is no XML is for its reader to refuse.
    """
    for part in archive.namelist():
        if part.endswith((".xml", ".rels")):
            try:
                with archive.open(part) as stream:
                    next(iter(iterparse(stream, events=("start",), forbid_dtd=True)), None)
            except DefusedXmlException as error:
                raise damaged(name, part, error) from error
            except (ParseError, ValueError, OSError, zipfile.BadZipFile, zlib.error):
                continue


def xml_elements(stream: IO[bytes]) -> Any:
    """(event, element) at the end of each element; raises what ``damaged`` explains."""
    return iterparse(stream, events=("end",), forbid_dtd=True)


def damaged(name: str, part: str, error: Exception) -> IntakeError:
    """What to tell of a part that cannot be parsed: the parsers of ZIP, XML and openpyxl raise a dozen kinds."""
    if isinstance(error, IntakeError):
        return error
    if isinstance(error, DefusedXmlException):
        return IntakeError(f"{name}：{part} 含有实体或文档类型定义，不像正常的文件，不予读取")
    what = "XML 有误" if isinstance(error, ParseError) else str(error)[:200]
    return IntakeError(f"{name}：{part} 无法读取（{what}），请用 Office 打开后另存再导入")
