"""What people decided, as training data: read from the store itself, texts unmasked, never written to a file."""

from __future__ import annotations

from collections.abc import Iterator

from nlp.corpus import Labelled
from service.lifecycle import Correction, Lifecycle
from service.settings import Settings
from service.store import Store, Submission

_PAGE = 200


def decided(settings: Settings) -> Iterator[tuple[Correction, Submission]]:
    """The corrections of the configured store with their submissions, by number."""
    store = Store(settings.database_url, settings.office_id)
    try:
        lifecycle, after = Lifecycle(store), 0
        while found := lifecycle.corrections(after=after, limit=_PAGE):
            items = {item.id: item.submission for item in store.get_many([one.number for one in found])}
            yield from ((one, items[one.number]) for one in found if one.number in items)
            after = found[-1].number
    finally:
        store.close()


def corrected_matters(settings: Settings) -> list[Labelled]:
    """The submissions whose matter people decided, labelled with it."""
    return [
        Labelled(f"更正:{one.number}", item.title, item.text, one.matter)
        for one, item in decided(settings)
        if one.matter
    ]
