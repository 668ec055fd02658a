"""Profiles of stored submissions, for comparing them: the most recently used stay in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from nlp.matching import Profile
from service.engine import Engine
from service.store import Store, Stored

# Tokens kept at a time, of all documents together: about 2 kB each with all that is compared, or 800 MB.
_KEPT_TOKENS = 400_000


class Profiles:
    """What is compared of stored submissions; the most recently used are kept. On the encoder's thread only."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store
        self._kept: OrderedDict[tuple[int, str, str], Profile] = OrderedDict()
        self._tokens = 0
        self._stamp = 0

    def forget(self) -> None:
        """Drop the erased ones."""
        stamp = self._store.stamp()
        erased = set(self._store.erasures(self._stamp)) if stamp != self._stamp else set()
        for key in [key for key in self._kept if key[0] in erased]:
            self._tokens -= len(self._kept.pop(key).encoding.tokens)
        self._stamp = stamp

    def get(self, numbers: Sequence[int]) -> list[tuple[Stored, Profile]]:
        """Those of the submissions that are stored, in order, as they are now."""
        self.forget()
        stored = self._store.get_many(numbers)
        keys = [(s.id, s.submission.title, s.submission.text) for s in stored]  # a revised one is read again
        fresh = [key for key in keys if key not in self._kept]
        for key, read in zip(fresh, self._engine.read([key[1:] for key in fresh]), strict=True):
            self._kept[key] = self._engine.models.pairs.profile(*read)
            self._tokens += len(read[1].tokens)
        found = []
        for item, key in zip(stored, keys, strict=True):
            self._kept.move_to_end(key)
            found.append((item, self._kept[key]))
        while self._tokens > _KEPT_TOKENS:
            _, profile = self._kept.popitem(last=False)
            self._tokens -= len(profile.encoding.tokens)
        return found
