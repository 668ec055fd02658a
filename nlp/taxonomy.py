"""The taxonomy: matters, the themes they count under, and the boundary rules — data that an office edits.

``corpora/taxonomy/taxonomy.toml`` is the shipped one. Moving a matter to another theme is one edited line; the model
predicts matters, so it needs no retraining.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nlp.errors import DataError

OTHER = "other"
_SUM_TOLERANCE = 0.005


@dataclass(frozen=True)
class Theme:
    """A theme: stable id, Chinese name, definition, the source it stands on, and its share among submissions in life.

    ``prior``: in (0, 1]; 0 where nothing is known, and then for every theme of the taxonomy.
    """

    id: str
    name: str
    definition: str = ""
    source: str = ""
    prior: float = 0.0


@dataclass(frozen=True)
class Matter:
    """A matter of fact; ``theme`` is the theme it counts under, ``insufficient`` marks texts without a matter."""

    id: str
    name: str
    theme: str
    definition: str = ""
    boundary: str = ""
    source: str = ""
    rules: tuple[int, ...] = ()
    insufficient: bool = False


@dataclass(frozen=True)
class Rule:
    """A numbered boundary rule with its two sides."""

    number: int
    text: str
    side_a: str = ""
    side_b: str = ""
    source: str = ""


@dataclass(frozen=True)
class Taxonomy:
    """Themes and matters in file order."""

    version: str
    themes: tuple[Theme, ...]
    matters: tuple[Matter, ...]
    rules: tuple[Rule, ...] = ()

    @cached_property
    def matter_by_id(self) -> dict[str, Matter]:
        """Matters by id."""
        return {matter.id: matter for matter in self.matters}

    @cached_property
    def theme_by_id(self) -> dict[str, Theme]:
        """Themes by id."""
        return {theme.id: theme for theme in self.themes}

    @classmethod
    def flat(cls, priors: Mapping[str, float], version: str = "labels") -> Taxonomy:
        """A taxonomy in which every label is its own matter and theme: for an office's own labelled history.

        ``priors``: label → its share in that history.
        """
        return cls(
            version,
            tuple(Theme(label, label, prior=share) for label, share in priors.items()),
            tuple(Matter(label, label, label) for label in priors),
        )


def load_taxonomy(path: Path) -> Taxonomy:
    """Read a taxonomy file; raises DataError naming the entry and what is wrong with it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "找不到主题分类文件") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(path, f"不是有效的 TOML 文件：{error}") from error
    try:
        taxonomy = Taxonomy(
            str(raw["version"]),
            tuple(Theme(**entry) for entry in raw["themes"]),
            tuple(Matter(**_tuples(entry)) for entry in raw["matters"]),
            tuple(Rule(**entry) for entry in raw.get("rules", [])),
        )
    except (KeyError, TypeError) as error:
        raise DataError(path, f"条目字段不符：{error}") from error
    _check(taxonomy, path)
    return taxonomy


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _check(taxonomy: Taxonomy, path: Path) -> None:
    for what, ids in (("主题", [t.id for t in taxonomy.themes]), ("细类", [m.id for m in taxonomy.matters])):
        repeated = sorted({i for i in ids if ids.count(i) > 1})
        if repeated:
            raise DataError(path, f"{what} id 重复：{'、'.join(repeated)}")
        if not ids:
            raise DataError(path, f"没有{what}")
    priors = [theme.prior for theme in taxonomy.themes]
    if any(priors) and not (all(0 < p <= 1 for p in priors) and abs(sum(priors) - 1) < _SUM_TOLERANCE):
        raise DataError(path, f"各主题的 prior 应都大于 0、合计为 1，实际合计 {sum(priors):.3f}；或全部不写")
    for matter in taxonomy.matters:
        if matter.theme not in taxonomy.theme_by_id:
            known = "、".join(taxonomy.theme_by_id)
            raise DataError(path, f"细类 {matter.id} 的 theme 是 {matter.theme!r}，应为其中之一：{known}")
        unknown = set(matter.rules) - {rule.number for rule in taxonomy.rules}
        if unknown:
            raise DataError(path, f"细类 {matter.id} 引用了不存在的规则 {sorted(unknown)}")
