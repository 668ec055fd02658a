"""The fields of the steps: what each may hold, checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any

from nlp.errors import InputError
from nlp.normalise import MAX_CHARS, validate
from nlp.units import Units
from service.steps import STEPS
from service.workdays import MAX_DAYS

# Text fields and the most characters each may have.
LIMITS = {"approved_by": 100, "result": 200, "level": 100, "form": 20, "issue": 100, "note": 500, "override": 500,
          "reviewer": 100, "reply": MAX_CHARS}  # fmt: skip
_MAX_UNIT = 100
_MAX_UNITS = 20
# What the points of adoption go by.
ADOPTED_BY = ("全国", "省", "市", "区（市、县）")
ADOPTED_AS = ("单篇", "综合", "转送")


def checked(
    kind: str,
    given: Mapping[str, Any],
    ratings: Collection[str],
    categories: Collection[str],
    units: Units | None,
) -> dict[str, Any]:
    """The fields of a step as the event will hold them, None left out; raises InputError naming the field."""
    step = STEPS[kind]
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in (*step.needs, *step.may):
            usual = "、".join((*step.needs, *step.may)) or "无"
            raise InputError("unknown_field", name, f"“{step.name}”没有这个字段，可用：{usual}")
    for name in step.needs:
        if name not in given:
            raise InputError("missing_field", name, f"“{step.name}”需要这个字段")
    one_of: dict[str, Collection[str]] = {"rating": ratings, "category": categories}
    if kind == "adopted":
        one_of |= {"level": ADOPTED_BY, "form": ADOPTED_AS}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in one_of:
            found[name] = _one_of(name, value, one_of[name])
        elif name in LIMITS:
            found[name] = validate(value, name, LIMITS[name]).strip()
        else:
            found[name] = _READERS[name](name, value, units)
    if kind == "routed":
        found["support"] = _support(found.get("support", []), found["unit"])
    return found


def unit_name(field: str, value: object, units: Units | None) -> str:
    """The name of a unit given by id, name or alias; raises InputError where a table has none such."""
    name = validate(value, field, _MAX_UNIT).strip()
    return name if units is None else units.find(name, field).name


def _one_of(field: str, value: object, known: Collection[str]) -> str:
    text = validate(value, field, _MAX_UNIT).strip()
    if text not in known:
        raise InputError("invalid_value", field, f"{text!r} 无效，应为 {'、'.join(known) or '（没有配置）'} 之一")
    return text


def _day(field: str, value: object, _units: object) -> str:
    text = validate(value, field, _MAX_UNIT).strip()
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise InputError("invalid_value", field, f"日期应如 2026-10-01，实为 {text!r}") from error


def _days(field: str, value: object, _units: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_DAYS:
        raise InputError("invalid_value", field, f"应为 1 至 {MAX_DAYS} 的整数（工作日），实为 {str(value)[:40]!r}")
    return value


def _units(field: str, value: object, units: Units | None) -> list[str]:
    return [unit_name(field, one, units) for one in _list(field, value)]


def _number(field: str, value: object, _units: object) -> int:
    if type(value) is not int or not 1 <= value < 2**31:
        raise InputError("invalid_value", field, f"应为编号（正整数），实为 {str(value)[:40]!r}")
    return value


def _numbers(field: str, value: object, _units: object) -> list[int]:
    numbers = [_number(field, one, None) for one in _list(field, value)]
    _no_repeats(field, [str(number) for number in numbers])
    return numbers


def _parts(field: str, value: object, units: Units | None) -> list[dict[str, str]]:
    parts = _list(field, value)
    if len(parts) < 2:
        raise InputError("invalid_value", field, f"分办至少要两件事，实有 {len(parts)} 件")
    found = []
    for part in parts:
        if not isinstance(part, dict) or set(part) != {"matter", "unit"}:
            raise InputError("invalid_value", field, '每件事应为 {"matter","unit"}')
        matter = validate(part["matter"], field, _MAX_UNIT).strip()
        found.append({"matter": matter, "unit": unit_name(field, part["unit"], units)})
    _no_repeats(field, [part["matter"] for part in found])
    return found


def _list(field: str, value: object) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InputError("invalid_type", field, f"应为列表，实为 {type(value).__name__}")
    if len(value) > _MAX_UNITS:
        raise InputError("invalid_value", field, f"至多 {_MAX_UNITS} 项，实有 {len(value)} 项")
    return list(value)


def _support(support: list[str], lead: str) -> list[str]:
    _no_repeats("support", support)
    if lead in support:
        raise InputError("invalid_value", "support", f"{lead}已是主办，不能又是协办")
    return support


def _no_repeats(field: str, names: list[str]) -> None:
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InputError("invalid_value", field, f"{repeated!r} 重复")


_READERS: dict[str, Callable[[str, object, Units | None], Any]] = {
    "unit": unit_name,
    "support": _units,
    "days": _days,
    "due": _day,
    "happened_on": _day,
    "event": _number,
    "persons": _numbers,
    "parts": _parts,
}
