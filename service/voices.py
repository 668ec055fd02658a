"""Voices: what tells one submitter from another, and which submissions of a store are whose."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import sqlalchemy as sa

from service.store import Store, Submitter
from service.tables import events, submissions

# Whom the public record may name in full: for them, the name alone tells who it is.
PUBLIC_KINDS = frozenset({"委员", "政协委员", "人大代表", "单位", "党派", "专委会"})
_MIN_PHONE = 7
_ACCOUNT_DIGITS = 4
# Events after which a submission may be another's, or nobody's.
_CHANGES = ("received", "revised", "erased")


def phone_of(submitter: Submitter) -> str | None:
    """The digits that identify a submitter's telephone, or None: absent, masked, too short, or one digit repeated."""
    phone = unicodedata.normalize("NFKC", submitter.phone or "")
    digits = "".join(c for c in phone if c in "0123456789")
    if len(digits) == 13 and digits.startswith("86"):
        digits = digits[2:]
    return digits if len(digits) >= _MIN_PHONE and len(set(digits)) > 1 and "*" not in phone else None


def voice_of(submitter: Submitter) -> tuple[str, str] | None:
    """What tells one submitter from another, or None where nothing does.

    The telephone; without one, the name of those who act in public, or an account number (a name with four digits).
    """
    phone, name = phone_of(submitter), (submitter.name or "").strip()
    if phone:
        return "phone", phone
    telling = submitter.kind in PUBLIC_KINDS or sum(c.isdigit() for c in name) >= _ACCOUNT_DIGITS
    return ("name", name) if name and telling else None


def count_voices(submitters: Iterable[Submitter]) -> int:
    """Distinct submitters; each unknown one is a voice of its own: a private name is no proof of being the same."""
    voices = [voice_of(submitter) for submitter in submitters]
    return len({voice for voice in voices if voice}) + voices.count(None)


class Voices:
    """The submissions of each submitter of a store, in memory. Not safe to share: on the encoder's thread only."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: dict[int, tuple[str, str]] = {}
        self._numbers: dict[tuple[str, str], set[int]] = {}
        self._stamp = 0

    def same(self, submitter: Submitter) -> set[int]:
        """Numbers of what this submitter raised; none where nothing tells who it is."""
        voice = voice_of(submitter)
        self.follow()
        return set(self._numbers.get(voice, ())) if voice else set()

    def follow(self) -> None:
        """Take in what was stored or revised since, and forget what was erased."""
        stamp = self._store.stamp()
        if stamp == self._stamp:
            return
        changed = self._store.mine(events), events.c.id > self._stamp, events.c.kind.in_(_CHANGES)
        own = (submissions.c.submitter_name, submissions.c.submitter_phone, submissions.c.submitter_kind)
        query = sa.select(submissions.c.id, *own).where(
            self._store.mine(submissions), submissions.c.id.in_(sa.select(events.c.submission_id).where(*changed))
        )
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        for number, name, phone, kind in rows:
            self._put(number, voice_of(Submitter(name=name, phone=phone, kind=kind)))
        self._stamp = stamp

    def _put(self, number: int, voice: tuple[str, str] | None) -> None:
        before = self._of.pop(number, None)
        if before:
            self._numbers[before].discard(number)
            if not self._numbers[before]:
                del self._numbers[before]  # it is a telephone number or a name
        if voice:
            self._of[number] = voice
            self._numbers.setdefault(voice, set()).add(number)
