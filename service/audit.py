"""The audit: what was done to keys, who logged in, and who opened personal data, with the reason. Append-only."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from service.cases import NotFound, signed
from service.store import Store, Stored, now
from service.tables import audit


def record(
    store: Store, connection: sa.Connection, actor: str, action: str, subject: str, detail: dict[str, Any]
) -> None:
    """Append a row, in the transaction of what it tells of."""
    connection.execute(
        audit.insert().values(
            office_id=store.office_id,
            id=store.next_number(connection, audit),
            at=now(),
            actor=actor,
            action=action,
            subject=subject,
            detail=json.dumps(detail, ensure_ascii=False),
        )
    )


def page(store: Store, *, after: int = 0, limit: int = 50) -> list[dict[str, Any]]:
    """Rows numbered above ``after``, oldest first."""
    query = sa.select(audit).where(store.mine(audit), audit.c.id > after).order_by(audit.c.id).limit(limit)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    names = ("id", "at", "actor", "action", "subject")
    return [{name: getattr(row, name) for name in names} | {"detail": json.loads(row.detail)} for row in rows]


def open_contact(store: Store, number: int, actor: str, reason: str) -> Stored:
    """A submission as received, for somebody who says why; raises InputError or NotFound.

    The reading is an event of the submission and a row of the audit, written before anything is shown.
    """
    actor, reason = signed(actor, reason)
    found = store.get(number) if 0 < number < 2**31 else None
    if found is None:
        raise NotFound("id", f"没有编号为 {number} 的材料")
    if found.erased_at is not None:
        raise NotFound("id", f"{number} 号材料已于 {found.erased_at} 删除")
    with store.writing() as connection:
        store.record(connection, number, "opened", actor, {"reason": reason})
        record(store, connection, actor, "opened", f"submission {number}", {"reason": reason})
    return found
