"""Who should handle a submission: matter × place × text → a proposal with its reason, or an honest 人工.

The responsibility table answers first: each likely matter spreads its probability over the rows that the text selects,
and the rows over their leads. A model of the office's own history (``nlp.routing_model``), where there is one, answers
in its place as far as it is sure. What is out of remit, or doubtful, goes to a person with the candidates. The machine
only proposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from nlp.contracts import FloatArray, MatterScore, Span
from nlp.document import Document
from nlp.routing_model import HistoryModel
from nlp.routing_table import Candidate, Opinion, Place, consult, lead_key
from nlp.taxonomy import Taxonomy
from nlp.themes import search_terms
from nlp.units import DISTRICT, OFFICE, ZONE, Referral, Unit, Units

Source = Literal["table", "history", "manual"]
Confidence = Literal["高", "中", "低"]

# Below this share for the first lead the table does not decide: matter and row are as likely something else.
_ABSTAIN = 0.45
_HIGH, _MIDDLE = 0.8, 0.6
_ALTERNATIVES = 3
_QUOTED = 4


@dataclass(frozen=True)
class Alternative:
    """A possible lead and its probability."""

    unit: Unit
    probability: float


@dataclass(frozen=True)
class Proposal:
    """拟办意见. ``lead`` None: a person decides, ``reason`` says why.

    matter, variant, cues: of the row that speaks for the lead ("" and none where there is none); cues are Spans of the
    document. ``probability``: of the lead, in [0, 1], 0 for 人工 (see ``alternatives``, at most three, descending).
    """

    lead: Unit | None
    support: tuple[Unit, ...]
    reason: str
    basis: str
    matter: str
    variant: str
    cues: tuple[Span, ...]
    place: Place
    source: Source
    probability: float
    alternatives: tuple[Alternative, ...]
    referral: Referral | None

    @property
    def confidence(self) -> Confidence:
        """把握程度."""
        return "高" if self.probability >= _HIGH else "中" if self.probability >= _MIDDLE else "低"


class Router:
    """Proposes units. Stateless after construction."""

    def __init__(self, units: Units, taxonomy: Taxonomy, history: HistoryModel | None = None) -> None:
        self.units = units
        self.history = history
        self._names = {matter.id: matter.name for matter in taxonomy.matters}
        self._current: tuple[date, Units] | None = None

    def at(self, day: date) -> Units:
        """The table in force on a day."""
        current = self._current
        if current is None or current[0] != day:
            current = self._current = (day, self.units.at(day))
        return current[1]

    def propose(
        self,
        document: Document,
        vector: FloatArray | None,
        matters: Sequence[MatterScore],
        day: date,
        where: Document | None = None,
    ) -> Proposal:
        """The proposal for a document by the table of ``day``.

        vector: float32 (d,), the base vector, for the history model; without it the table answers alone. where: the
        submission's own district and address, read as a document.
        """
        opinion = self.read(document, matters, day, where)
        table = self._by_table(document, opinion)
        if self.history is None or vector is None:
            return table
        return self._by_history(document, opinion, table, self.history, vector)

    def read(
        self, document: Document, matters: Sequence[MatterScore], day: date, where: Document | None = None
    ) -> Opinion:
        """What the table in force on ``day`` says of a document."""
        return consult(self.at(day), document, matters, where)

    def _by_table(self, document: Document, opinion: Opinion) -> Proposal:
        leads = opinion.leads
        if not leads:
            return self._manual(document, opinion, "职责表中没有这类事项，请人工判断主办单位。")
        if opinion.refers and opinion.referral is not None:
            kind, why, whom = opinion.referral.kind, opinion.referral.reason, opinion.referral.channel
            told = f"疑似不属本级办理（{kind}）：{why}可告知：{whom}。是否退回由经办人决定。"
            return self._manual(document, opinion, told)
        key, probability = next(iter(leads.items()))
        chosen = opinion.best(key)
        assert chosen is not None  # noqa: S101  (a lead comes from a candidate)
        if probability < _ABSTAIN:
            return self._manual(document, opinion, f"拿不准：{self._doubt(opinion)}。请人工判断主办单位。")
        if chosen.lead is None:
            told = f"{self._found(document, chosen)}。{chosen.match.duty.reason}请人工留存、退回或答复。"
            return self._manual(document, opinion, told, chosen)
        reason = self._because(document, chosen, opinion.place)
        return self._answer(document, opinion, chosen, "table", probability, reason)

    def _by_history(
        self, document: Document, opinion: Opinion, table: Proposal, history: HistoryModel, vector: FloatArray
    ) -> Proposal:
        scores = history.scores(vector, search_terms(document), opinion.leads)
        key, probability = next(iter(scores.items()))
        units = opinion.known
        if probability < history.threshold:
            return self._unless_ruled_out(document, opinion, table, history, scores)
        chosen = opinion.best(key)
        if key == OFFICE:
            told = f"以往类似的材料由本单位直接处理（把握 {probability:.0%}），请人工留存、退回或答复。"
            return self._manual(document, opinion, told, chosen)
        if key not in units:  # a unit of yesterday, or the government of a place that is not known
            own = opinion.best(lead_key(table.lead)) if table.lead else None
            if key != DISTRICT or (own is not None and own.standing_in):
                return table
            told = f"以往类似的材料由属地主办（把握 {probability:.0%}），但不能确定在哪个区（市、县），请人工判断。"
            return self._manual(document, opinion, told)
        reason = f"以往类似的材料由{units[key].name}主办（把握 {probability:.0%}）。"
        if chosen is not None:
            reason += self._because(document, chosen, opinion.place)
            return self._answer(document, opinion, chosen, "history", probability, reason, scores)
        unit, others = units[key], self._alternatives(scores, opinion)
        if table.lead is not None:
            reason += f"职责表则指向{table.lead.name}，请核对。"
        reason += f"其职责：{unit.duties}。依据：{unit.basis}。"
        return Proposal(
            unit, (), reason, unit.basis, "", "", (), opinion.place, "history", probability, others, opinion.referral
        )

    def _unless_ruled_out(
        self, document: Document, opinion: Opinion, table: Proposal, history: HistoryModel, scores: dict[str, float]
    ) -> Proposal:
        """The table's proposal, unless history knows its lead and does not have it among its first three."""
        own = lead_key(table.lead)
        if table.lead is None or own not in history.labels or own in list(scores)[:_ALTERNATIVES]:
            return table
        units = opinion.known
        named = "、".join(
            f"{units[key].name} {p:.0%}" for key, p in list(scores.items())[:_ALTERNATIVES] if key in units
        )
        told = f"拿不准：职责表指向{table.lead.name}，以往类似的材料却多由别的单位主办（{named}）。请人工判断。"
        return self._manual(document, opinion, told)

    def _answer(
        self,
        document: Document,
        opinion: Opinion,
        chosen: Candidate,
        source: Source,
        probability: float,
        reason: str,
        scores: dict[str, float] | None = None,
    ) -> Proposal:
        duty = chosen.match.duty
        alternatives = self._alternatives(scores or opinion.leads, opinion)
        return Proposal(
            chosen.lead, chosen.support, reason, duty.basis, chosen.matter, duty.variant, _spans(document, chosen),
            opinion.place, source, min(probability, 1.0), alternatives, opinion.referral,
        )  # fmt: skip

    def _manual(self, document: Document, opinion: Opinion, reason: str, chosen: Candidate | None = None) -> Proposal:
        basis, matter, variant = "", "", ""
        if chosen is not None:
            basis, matter, variant = chosen.match.duty.basis, chosen.matter, chosen.match.duty.variant
        cues = _spans(document, chosen) if chosen is not None else ()
        alternatives = self._alternatives(opinion.leads, opinion)
        return Proposal(
            None, (), reason, basis, matter, variant, cues, opinion.place, "manual", 0.0, alternatives, opinion.referral
        )

    def _alternatives(self, scores: dict[str, float], opinion: Opinion) -> tuple[Alternative, ...]:
        units = opinion.known
        known = [Alternative(units[key], min(p, 1.0)) for key, p in scores.items() if key in units]
        return tuple(known[:_ALTERNATIVES])

    def _found(self, document: Document, chosen: Candidate) -> str:
        """What the text says and which row that selects."""
        name = self._names.get(chosen.matter, chosen.matter)
        quoted = "、".join(f"“{span.text}”" for span in _spans(document, chosen)[:_QUOTED])
        variant = chosen.match.duty.variant
        if quoted:
            return f"材料写到{quoted}，属“{name}”中的“{variant}”"
        return f"属“{name}”，没有写到更具体的情形"

    def _because(self, document: Document, chosen: Candidate, place: Place) -> str:
        duty = chosen.match.duty
        where = f"，地点在{place.names[0]}" if place.unit and place.names else ""
        told = f"{self._found(document, chosen)}{where}。{duty.reason}"
        assert chosen.lead is not None  # noqa: S101  (asked only of those that have a lead)
        if chosen.standing_in:
            why = f"提到{'、'.join(place.names)}几处，不能确定属地" if place.names else "没有写明在哪个区（市、县）"
            told += f"{why}，先由{chosen.lead.name}接办，查明后转属地。"
        elif duty.lead in (DISTRICT, ZONE):
            told += f"此件即由{chosen.lead.name}主办。"
        return f"{told}依据：{duty.basis}。"

    def _doubt(self, opinion: Opinion) -> str:
        """The candidates, each with the row that speaks for it."""
        told = []
        for key, share in list(opinion.leads.items())[:_ALTERNATIVES]:
            row = opinion.best(key)
            assert row is not None  # noqa: S101
            name = row.lead.name if row.lead else "本单位直接处理"
            cues = "".join(f"“{cue}”" for cue in row.match.cues[:2])
            told.append(
                f"{name}（{self._names.get(row.matter, row.matter)}—{row.match.duty.variant}{cues}，{share:.0%}）"
            )
        return "，或".join(told)


def _spans(document: Document, chosen: Candidate) -> tuple[Span, ...]:
    """Where the cues of a row stand in the submission, first places only, by position."""
    text = document.normalised.text
    starts = sorted((text.find(cue), cue) for cue in chosen.match.cues)
    return tuple(document.span(start, start + len(cue), "CUE") for start, cue in starts)
