"""What may happen to a submission, as one table, and the pure fold from its events to where it stands.

``STEPS`` is data: kind → the states it is possible in, each with the state that follows. A kind that is not in the
table changes nothing. The events are the record; a ``Standing`` can always be made again from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

State = Literal["待审核", "已退回", "留存", "已转办", "办理中", "已办结", "已回访", "已归档", "已撤回", "已删除"]
STATES: tuple[str, ...] = get_args(State)
FIRST = STATES[0]
# With a unit, and its time running.
RUNNING = ("已转办", "办理中")
_ALIVE = "待审核 已退回 留存 已转办 办理中 已办结 已回访 已归档"
_ANY = f"{_ALIVE} 已撤回"
# In which something may come of it.
_USED = "待审核 留存 已转办 办理中 已办结 已回访 已归档"
# In place of a state: the one before the withdrawal.
BEFORE = "撤回前"


def _from(states: str, to: str | None = None) -> dict[str, str]:
    """Each of the states → ``to``, or itself."""
    return {state: to or state for state in states.split()}


@dataclass(frozen=True)
class Step:
    """``name``: as officials say; ``moves``: state → the next; ``needs`` and ``may``: fields of the kind.

    ``by_hand``: whether a person takes it as a step of its own; the others are written by what they tell of.
    """

    name: str
    moves: Mapping[str, str]
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    by_hand: bool = True


_ROUTE = ("support", "category", "days", "override", "reviewer")
STEPS: dict[str, Step] = {
    # A person's steps.
    "registered": Step("登记", _from("待审核 已办结"), (), ("category",)),
    "kept": Step("留存", _from("待审核", "留存"), (), ("category", "reviewer")),
    "returned": Step("退回", _from("待审核 留存", "已退回") | _from("已转办 办理中", "待审核"), (), ("reviewer",)),
    "routed": Step("转办", _from("待审核 留存 已转办 办理中", "已转办"), ("unit",), _ROUTE),
    "split": Step("分办", _from("待审核 留存 已转办 办理中", "已转办"), ("parts",), _ROUTE[1:]),
    "signed": Step("签收", _from("已转办", "办理中")),
    "extended": Step("延期", _from("已转办 办理中"), ("due", "approved_by")),
    "urged": Step("催办", _from("已转办 办理中")),
    "answered": Step("答复", _from("待审核 留存 已转办 办理中", "办理中"), ("reply",), ("reviewer",)),
    "closed": Step("办结", _from("办理中", "已办结"), ("result",), ("reviewer",)),
    "visited": Step("回访", _from("已办结 已回访", "已回访"), (), ("rating",)),
    "rated": Step("评价", _from("已办结 已回访"), ("rating",)),
    "archived": Step("归档", _from("已退回 留存 已办结 已回访", "已归档")),
    "adopted": Step("采用", _from(_USED), ("level",),
                    ("form", "issue", "happened_on")),
    "instructed": Step("批示", _from(_USED), ("level",), ("note", "happened_on")),
    "implemented": Step("采纳落实", _from(_USED), (), ("note", "happened_on")),
    "retracted": Step("撤销记录", _from(f"{_ANY} 已删除"), ("event",)),
    "credited": Step("认定反映人", _from(_ANY), ("persons",)),
    "noted": Step("备注", _from(_ANY), ("note",)),
    "reopened": Step("重办", _from("已退回 留存 已转办 办理中", FIRST) | _from("已办结 已回访", "办理中")
                     | _from("已归档", "已办结")),
    "withdrawn": Step("撤回", _from("待审核 已退回 留存 已转办 办理中", "已撤回")),
    "restored": Step("恢复", _from("已撤回", BEFORE)),
    # Written by what they tell of.
    "received": Step("收到", _from(FIRST), by_hand=False),
    "analysed": Step("机器分析", _from(_ANY), by_hand=False),
    "indexed": Step("补检索用词", _from(_ANY), by_hand=False),
    "replied": Step("来源答复", _from(_ANY) | _from(FIRST, "已办结"), by_hand=False),
    "revised": Step("修改", _from(_ANY) | _from("已退回", FIRST), by_hand=False),
    "corrected": Step("更正", _from(_ALIVE), by_hand=False),
    "merged": Step("并案", _from(_ANY), by_hand=False),
    "unmerged": Step("撤出并案", _from(_ANY), by_hand=False),
    "follows": Step("登记续报", _from(_ANY), by_hand=False),
    "unfollowed": Step("解除续报", _from(_ANY), by_hand=False),
    "issued": Step("编发", _from(_USED), by_hand=False),
    "unissued": Step("撤回编发", _from(_ANY), by_hand=False),
    "erased": Step("删除", _from(_ANY, "已删除"), by_hand=False),
}  # fmt: skip
# Kinds that leave a standing as it is, whatever the state.
IDLE = frozenset({"received", "analysed", "indexed", "merged", "unmerged", "follows", "unfollowed", "issued",
                  "unissued", "credited"})  # fmt: skip
# What came of a submission, of which there may be several: kind → the field of the standing that sums it up.
OUTCOMES = {"adopted": "adoption", "instructed": "instruction", "implemented": "implemented"}
# Steps that, while the time of a unit runs, are about that unit: an office that answers by itself has none.
_OF_UNIT = frozenset({"returned", "signed", "extended", "urged"})
_HANDLED = frozenset({"registered", "kept", "returned", "routed", "split", "answered", "closed"})
_NO_UNIT: dict[str, Any] = {"lead_unit": None, "support_units": (), "parts": (), "routed_at": None, "due": None}


@dataclass(frozen=True)
class Event:
    """One thing that happened: ``at`` is ISO 8601, UTC; ``detail`` holds the fields of the kind, and the reason."""

    id: int
    kind: str
    actor: str
    at: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """Where a submission stands. ``number``: the running number of the register; ``due``: a day, ISO 8601.

    ``theme``, ``matter``, ``unit``: what people decided (None: nothing; ``matter`` "" where only the theme is known);
    ``corrected``: the event that did; ``returned_by``: the units that sent it back; ``before``: the state before a
    withdrawal; ``parts``: (matter, unit) of a split one.
    """

    state: str = FIRST
    number: str | None = None
    category: str | None = None
    lead_unit: str | None = None
    support_units: tuple[str, ...] = ()
    routed_at: str | None = None
    due: str | None = None
    result: str | None = None
    replied_at: str | None = None
    adoption: str | None = None
    instruction: str | None = None
    implemented: str | None = None
    satisfaction: str | None = None
    handler: str | None = None
    reviewer: str | None = None
    note: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    returned_by: tuple[str, ...] = ()
    before: str | None = None
    theme: str | None = None
    matter: str | None = None
    unit: str | None = None
    corrected: int | None = None


def possible(standing: Standing) -> tuple[str, ...]:
    """The steps a person may take now, in the order of the table."""
    alone = standing.state in RUNNING and standing.lead_unit is None
    here = (kind for kind, step in STEPS.items() if step.by_hand and standing.state in step.moves)
    not_now = _OF_UNIT if alone else frozenset()
    return tuple(k for k in here if k not in not_now and (k != "registered" or standing.number is None))


def fold(events: Iterable[Event]) -> Standing:
    """Where the events of one submission, oldest first, have brought it."""
    standing = Standing()
    for event in events:
        standing = follow(standing, event)
    return standing


def follow(standing: Standing, event: Event) -> Standing:
    """The standing after one more event. A kind unknown, or not possible in this state, changes nothing."""
    step = STEPS.get(event.kind)
    if step is None or event.kind in IDLE or standing.state not in step.moves:
        return standing
    state = step.moves[standing.state]
    changes = _CHANGES[event.kind](standing, event, state) if event.kind in _CHANGES else {}
    for name in ("category", "reviewer"):
        if event.detail.get(name):
            changes[name] = event.detail[name]
    if event.kind in _HANDLED and not event.detail.get("by_unit"):
        changes["handler"] = event.actor
    return replace(standing, state=(standing.before or FIRST) if state == BEFORE else state, **changes)


def retracted(events: Iterable[Event]) -> set[int]:
    """The numbers of the events that others have taken back."""
    return {event.detail["event"] for event in events if event.kind == "retracted"}


def _clock(event: Event) -> dict[str, Any]:
    return {"routed_at": event.at, "due": event.detail["due"]}


def _joined(before: str | None, more: str) -> str:
    return f"{before}；{more}" if before else more


def _split(standing: Standing, event: Event, state: str) -> dict[str, Any]:
    parts = tuple((part["matter"], part["unit"]) for part in event.detail["parts"])
    units = tuple(dict.fromkeys(unit for _, unit in parts))
    return {"lead_unit": units[0], "support_units": units[1:], "parts": parts, **_clock(event)}


def _returned(standing: Standing, event: Event, state: str) -> dict[str, Any]:
    unit = event.detail.get("by_unit")
    return {**_NO_UNIT, "returned_by": tuple(dict.fromkeys((*standing.returned_by, unit)))} if unit else {}


def _reopened(standing: Standing, event: Event, state: str) -> dict[str, Any]:
    return dict(_NO_UNIT) if state == FIRST else {"result": None} if state == "办理中" else {}


def _adopted(standing: Standing, event: Event, state: str) -> dict[str, Any]:
    told = " ".join(event.detail[name] for name in ("level", "form", "issue") if event.detail.get(name))
    return {"adoption": _joined(standing.adoption, told)}


def _corrected(standing: Standing, event: Event, state: str) -> dict[str, Any]:
    decided = {name: event.detail[name] for name in ("theme", "matter", "unit") if event.detail.get(name) is not None}
    return {**decided, "corrected": event.id}


# What an event changes besides the state: from the standing before it, and the state that it leads to.
_CHANGES: dict[str, Callable[[Standing, Event, str], dict[str, Any]]] = {
    "registered": lambda s, e, _: {"number": e.detail["number"]},
    "routed": lambda s, e, _: {"lead_unit": e.detail["unit"], "support_units": tuple(e.detail["support"]),
                               "parts": (), **_clock(e)},
    "split": _split,
    "returned": _returned,
    "reopened": _reopened,
    "extended": lambda s, e, _: {"due": e.detail["due"]},
    "answered": lambda s, e, _: {"replied_at": e.at},
    "replied": lambda s, e, _: {"replied_at": e.detail["replied_at"] or e.at},
    "closed": lambda s, e, _: {"result": e.detail["result"]},
    "visited": lambda s, e, _: {"satisfaction": e.detail.get("rating") or s.satisfaction},
    "rated": lambda s, e, _: {"satisfaction": e.detail["rating"]},
    "adopted": _adopted,
    "instructed": lambda s, e, _: {"instruction": _joined(s.instruction, e.detail["level"])},
    "implemented": lambda s, e, _: {"implemented": e.at},
    "retracted": lambda s, e, _: {OUTCOMES[e.detail["of"]]: e.detail["left"]},
    "noted": lambda s, e, _: {"note": e.detail["note"]},
    "withdrawn": lambda s, e, _: {"before": s.state},
    "restored": lambda s, e, _: {"before": None},
    "corrected": _corrected,
}  # fmt: skip
