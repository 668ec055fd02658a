"""What the responsibility table says of a text: where it happened, the rows it selects with their leads and shares,
and what may be out of remit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nlp.contracts import MatterScore
from nlp.document import Document
from nlp.units import DISTRICT, OFFICE, ZONE, Match, Referral, Unit, Units

# Each further cue makes a row this many times as likely; one in the title counts twice.
_CUE = 3.0
# However plain matter and row are, two dispatchers agreed with the table no more often (docs/decisions.md).
_TRUST = 0.9


@dataclass(frozen=True)
class Place:
    """Where it happened. ``unit``: the government or zone committee there; None where not known.

    names: the districts and zones mentioned, the most mentioned first; several where none of them stands out.
    """

    unit: Unit | None
    names: tuple[str, ...] = ()

    @property
    def in_zone(self) -> bool:
        """Whether a zone committee governs there."""
        return self.unit is not None and self.unit.level == "zone"


@dataclass(frozen=True)
class Candidate:
    """A row that the text selects: its lead (None: the office itself), support and share in [0, 1].

    ``standing_in``: the municipal unit leads because the place is not known.
    """

    matter: str
    match: Match
    lead: Unit | None
    support: tuple[Unit, ...]
    share: float
    standing_in: bool

    @property
    def key(self) -> str:
        """The lead as history counts it: see ``lead_key``."""
        return lead_key(self.lead)


@dataclass(frozen=True)
class Opinion:
    """What the table of a day says: the candidates, largest share first, and what may be out of remit.

    ``refers``: as much speaks for that as for any row.
    """

    units: Units
    place: Place
    candidates: tuple[Candidate, ...]
    referral: Referral | None
    refers: bool

    @property
    def leads(self) -> dict[str, float]:
        """Lead key → share, largest first; sums to at most 1."""
        shares: dict[str, float] = {}
        for candidate in self.candidates:
            shares[candidate.key] = shares.get(candidate.key, 0.0) + candidate.share
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))

    @property
    def known(self) -> dict[str, Unit]:
        """Lead key → unit; ``district`` only where the place is known."""
        return self.units.unit_by_id | ({DISTRICT: self.place.unit} if self.place.unit else {})

    def best(self, key: str) -> Candidate | None:
        """The row that speaks most for a lead."""
        return next((candidate for candidate in self.candidates if candidate.key == key), None)


def lead_key(unit: Unit | None) -> str:
    """A lead as history counts it: the unit's id; ``district`` for whichever unit governs the place; ``office``."""
    if unit is None:
        return OFFICE
    return DISTRICT if unit.level in ("district", "zone") else unit.id


def consult(units: Units, document: Document, matters: Sequence[MatterScore], where: Document | None = None) -> Opinion:
    """What the table says of a document with these likely matters; ``where``: its own district and address."""
    place = locate(units, document, where)
    candidates = [
        candidate
        for score in matters
        for candidate in _rows_of(units, document, place, score.matter, score.probability)
    ]
    candidates.sort(key=lambda c: -c.share)
    referral, strength = _referral(units, document.normalised.text, place, matters)
    best = len(candidates[0].match.cues) if candidates else 0
    return Opinion(units, place, tuple(candidates), referral, referral is not None and strength >= max(1, best))


def locate(units: Units, document: Document, where: Document | None = None) -> Place:
    """Where it happened: by the submission's own district and address, else by the text.

    A district counts as often as it or a place in it is mentioned; the most mentioned must stand out. A zone stands
    before the district that it lies in.
    """
    for source in filter(None, (where, document)):
        counts = Counter(e.district for e in source.entities if e.label == "PLACE" and e.district in units.local)
        text = source.normalised.text
        for name in units.zone_names:
            counts[units.zone_names[name].name] += text.count(name)
        ranked = [(name, n) for name, n in counts.most_common() if n and name]
        if not ranked:
            continue
        first = [name for name, n in ranked if n == ranked[0][1]]
        zones = [name for name in first if units.local[name].level == "zone"]
        chosen = first[0] if len(first) == 1 else zones[0] if len(zones) == 1 else None
        if chosen is not None:
            rest = tuple(name for name, _ in ranked if name != chosen)
            return Place(units.local[chosen], (chosen, *rest))
        return Place(None, tuple(first))
    return Place(None)


def _rows_of(units: Units, document: Document, place: Place, matter: str, probability: float) -> list[Candidate]:
    """The rows of a matter that the text selects, its probability spread over them by their cues."""
    text = document.normalised.text
    rows: dict[str, Match] = {}
    for match in units.match(matter, text):
        if match.duty.place_rule != ZONE or place.in_zone:
            rows.setdefault(match.duty.variant, match)  # the row for zones stands before the one for other places
    titled = text[: len(document.title)]
    weights = [_CUE ** (len(m.cues) + sum(cue in titled for cue in m.cues)) for m in rows.values()]
    total = sum(weights)
    return [
        Candidate(matter, match, *_resolved(units, match, place, _TRUST * probability * weight / total))
        for match, weight in zip(rows.values(), weights, strict=True)
    ]


def _resolved(
    units: Units, match: Match, place: Place, share: float
) -> tuple[Unit | None, tuple[Unit, ...], float, bool]:
    """Lead and support of a row at a place, its share, and whether the lead stands in for an unknown place."""
    duty = match.duty

    def unit(name: str) -> Unit | None:
        return place.unit if name in (DISTRICT, ZONE) else units.unit_by_id.get(name)

    support = [u for u in map(unit, duty.support) if u is not None]
    lead = unit(duty.lead)
    standing_in = lead is None and duty.lead == DISTRICT
    if standing_in:
        lead = next((u for u in support if u.level == "city"), None)
    others = tuple(dict.fromkeys(u for u in support if u != lead))
    return lead, others, share, standing_in


def _referral(units: Units, text: str, place: Place, matters: Sequence[MatterScore]) -> tuple[Referral | None, int]:
    """What the text says of something out of remit, and by how many different words; only for the likeliest matter.

    Another town does not count where a place in this one is known.
    """
    found: tuple[Referral | None, int] = (None, 0)
    matter = matters[0].matter if matters else ""
    for referral in units.referrals:
        elsewhere = not referral.matters
        if (referral.matters and matter not in referral.matters) or (elsewhere and place.unit is not None):
            continue
        hits = sum(cue in text for cue in referral.cues)
        if hits > found[1] and not any(word in text for word in referral.not_cues):
            found = (referral, hits)
    return found
