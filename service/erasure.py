"""Erasure of submissions: all content goes, from the tables and from the files; a tombstone stays.

What stays of one: its number, its source, a digest of its external id (so that no import brings it back) and its
events, which hold no content. In memory, indexes and caches follow the ``erased`` event (see ``Index.follow``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.cases import NotFound, signed
from service.store import Store, tombstone
from service.tables import CONTENT, case_members, cases, events, imports, submissions

_KEPT = {"office_id", "id", "source", "external_id", "content_sha256", "title", "text", "stored_at", "erased_at"}
_BLANK = {"title": "", "text": "", "content_sha256": ""} | {c.name: None for c in submissions.c if c.name not in _KEPT}


@dataclass(frozen=True)
class Erased:
    """A submission without content. ``purged``: whether the files of the database are known to be free of it."""

    id: int
    erased_at: str
    purged: bool


def erase(store: Store, numbers: Sequence[int], actor: str, reason: str) -> list[Erased]:
    """Erase submissions in one transaction, then rewrite the database without them; raises InputError or NotFound.

    Of one that is erased already nothing is recorded again, but the files are purged again: to be repeated where
    ``purged`` is False, as it is while another's transaction still reads what was there before.
    """
    actor, reason = signed(actor, reason)
    with store.writing() as connection:
        done = {number: _erase(store, connection, number, actor, reason) for number in numbers}
    # An import leaves a dead row of its file behind.
    purged = store.purge((submissions, events, *CONTENT, imports))
