"""Errors of the analysis library.

    MinshengError
    ├── InputError        one item cannot be analysed; carries ``field`` and a stable ``type``
    ├── DataError         a data file (taxonomy, lexicon, gazetteer, training data) is wrong; names file and line
    └── ArtefactError     a model folder or weight file cannot be used; names the file
        ├── ArtefactMissing    it is not there
        ├── ArtefactDamaged    its content is not what its papers say
        └── ArtefactMismatch   it is whole, but made for another encoder, taxonomy or format version

Messages are Chinese (users read them) and say what, whose, expected, got.
"""

from __future__ import annotations

from pathlib import Path


class MinshengError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(MinshengError):
    """An item of the user's input cannot be processed.

    ``type`` is one of ``empty``, ``too_long``, ``invalid_character``, ``invalid_type``, ``missing_field``,
    ``invalid_value``; ``field`` names the offending field of the item.
    """

    def __init__(self, type: str, field: str, detail: str) -> None:
        super().__init__(f"{field}：{detail}")
        self.type = type
        self.field = field
        self.detail = detail


class DataError(MinshengError):
    """A data file is wrong. ``line`` counts from 1; None where the whole file is meant."""

    def __init__(self, path: Path | str, detail: str, line: int | None = None) -> None:
        where = f"{path} 第 {line} 行" if line is not None else f"{path}"
        super().__init__(f"{where}：{detail}")
        self.path = Path(path)
        self.line = line
        self.detail = detail


class ArtefactError(MinshengError):
    """A model folder or weight file cannot be used."""

    def __init__(self, path: Path | str, detail: str) -> None:
        super().__init__(f"{path}：{detail}")
        self.path = Path(path)
        self.detail = detail


class ArtefactMissing(ArtefactError):
    """The file or folder is not there."""


class ArtefactDamaged(ArtefactError):
    """The content differs from what its papers (size, sha256, layout) say."""


class ArtefactMismatch(ArtefactError):
    """Whole, but made for another encoder, taxonomy or format version."""
