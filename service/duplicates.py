"""What may have been raised before: on arrival, over the whole store, and what the members of a case add.

The machine proposes only; nothing here writes to the store but ``receive``, which stores what arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from nlp.contracts import Comparison, Encoding, FloatArray, Span
from nlp.document import Document
from nlp.errors import InputError
from nlp.grouping import Group, complete_linkage
from nlp.matching import Profile
from nlp.normalise import normalise
from nlp.retrieval import Keys
from nlp.similar import added_sentences
from nlp.themes import search_terms
from service import replies
from service.cases import Cases, NotFound, Outline
from service.engine import Analysed, Engine, analyse_changed, store_analysed
from service.grades import Grades
from service.profiles import Profiles
from service.replies import Reply
from service.search import words_of
from service.store import Store, Stored, Submission
from service.voices import Voices, count_voices, voice_of

# Of the same submitter's other submissions, the latest are graded as well, however near.
_SAME_VOICE = 5
_MAX_DUPLICATES = 5
# Pairs graded, or texts read, in one turn on the encoder's thread: others get theirs in between.
_TURN = 32
# Submissions whose candidates are looked up in one turn.
_LOOKED_UP = 256

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Candidate:
    """A stored submission graded against what was asked; ``score``: their cosine; ``case``: the open one it is in."""

    stored: Stored
    score: float
    comparison: Comparison
    case: int | None


@dataclass(frozen=True)
class Near:
    """A submission near a stored one, and whether the same submitter raised it."""

    candidate: Candidate
    same_submitter: bool


@dataclass(frozen=True)
class Received:
    """What became, or would become, of a submission. ``number``: None where it is not stored.

    ``duplicates``: other people's, the most probable first, at most five; ``follows``: the same submitter's earlier
    one.
    """

    number: int | None
    outcome: str
    duplicates: tuple[Candidate, ...]
    follows: Candidate | None


@dataclass(frozen=True)
class Suggestion:
    """Submissions in which every pair is graded duplicate. ``members``: the lead (the earliest received) first.

    ``case``: the open case, led by the lead, that the others could join. ``probability``: the least of any pair.
    """

    members: tuple[Stored, ...]
    voices: int
    probability: float
    case: int | None


@dataclass(frozen=True)
class FollowUp:
    """A submission that repeats the same submitter's ``earlier`` one; ``probability`` is their group's."""

    stored: Stored
    earlier: Stored
    probability: float


@dataclass(frozen=True)
class Suggestions:
    """Suggested cases, the largest first, then the surest, and suggested follow-ups, by number."""

    cases: tuple[Suggestion, ...]
    follows: tuple[FollowUp, ...]


@dataclass(frozen=True)
class Member:
    """A member of a case, what it says beyond the lead's text, and the follow-ups to it."""

    stored: Stored
    added: tuple[Span, ...]
    follow_ups: tuple[Stored, ...]


@dataclass(frozen=True)
class CaseView:
    """A case in full: its members, the lead first, and its steps, oldest first."""

    outline: Outline
    members: tuple[Member, ...]
    history: tuple[dict[str, Any], ...]


class Duplicates:
    """Looks for duplicates in one store with one engine."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine = engine
        self.store = store
        self.cases = Cases(store)
        self.voices = Voices(store)
        self._profiles = Profiles(engine, store)

    def forget(self) -> None:
        """Drop from memory what was erased. On the encoder's thread only."""
        self.engine.index.follow(self.store)
        self._profiles.forget()
        self.voices.follow()

    def receive(
        self,
        batch: Sequence[Submission],
        render: Callable[[Analysed], dict[str, Any]],
        actor: str,
        given: Sequence[Reply | None] | None = None,
    ) -> list[Received | InputError]:
        """Store a batch and look for the duplicates of each; in order. On the encoder's thread only.

        ``given``: the replies that came with the submissions.
        """
        given = given or [None] * len(batch)
        analysed = analyse_changed(self.engine, self.store, batch)
        encoder_id = self.engine.models.encoder.encoder_id
        settle = partial(replies.take, self.store, given=given, actor=actor)
        outcomes = store_analysed(self.store, encoder_id, batch, analysed, render, actor, settle)
        stored = [
            (submission, *outcome, (answer.document, answer.encoding) if isinstance(answer, Analysed) else None)
            for submission, answer, outcome in zip(batch, analysed, outcomes, strict=True)
            if not isinstance(outcome, InputError)
        ]
        answers = iter(self._answers(stored))
        return [outcome if isinstance(outcome, InputError) else next(answers) for outcome in outcomes]

    def ask(self, batch: Sequence[Submission], given: Sequence[Reply | None] | None = None) -> list[Received]:
        """What ``receive`` would answer, without storing. On the encoder's thread only.

        The submissions of a batch do not see each other, as none of them is stored.
        """
        replied = zip(batch, given or [None] * len(batch), strict=True)
        return self._answers([(s, *replies.foresee(self.store, s, reply), None) for s, reply in replied])

    def _answers(
        self, items: Sequence[tuple[Submission, int | None, str, tuple[Document, Encoding] | None]]
    ) -> list[Received]:
        """Of each: the submission, its number, what became of it, and what has been read of it already."""
        links, memberships = self.cases.links(), self.cases.memberships()
        answers = []
        for submission, number, outcome, read in items:
            document, encoding = read or self.engine.read([(submission.title, submission.text)])[0]
            profile = self.engine.models.pairs.profile(document, encoding)
            mine = {n for n in self.voices.same(submission.submitter) if n != number}
            scores = self._near(document, encoding.vector, mine, number)
            likely = [
                one
                for one in self._compared(profile, scores, memberships)
                if one.comparison.relation == "duplicate" and (one.stored.id in mine or one.stored.id not in links)
            ]
            others = tuple(c for c in likely if c.stored.id not in mine)[:_MAX_DUPLICATES]
            earlier = (c for c in likely if c.stored.id in mine and (number is None or c.stored.id < number))
            follows = next(earlier, None)
            answers.append(Received(number, outcome, others, follows))
        return answers

    def near(self, number: int, limit: int) -> tuple[Stored, list[Near]]:
        """A stored submission and what is graded duplicate or related to it, the duplicates first.

        On the encoder's thread only; raises NotFound.
        """
        own = self._profiles.get([number]) if 0 < number < 2**31 else []
        if not own:
            raise NotFound("id", f"没有编号为 {number} 的材料")
        [(stored, profile)] = own
        mine = self.voices.same(stored.submission.submitter) - {number}
        scores = self._near(profile.document, profile.encoding.vector, mine, number)
        found = self._compared(profile, scores, self.cases.memberships(scores))
        found.sort(key=lambda c: c.comparison.relation != "duplicate")
        alike = [one for one in found if one.comparison.relation != "unrelated"]
        return stored, [Near(one, one.stored.id in mine) for one in alike[:limit]]

    def _compared(
        self, profile: Profile, scores: dict[int, float], memberships: dict[int, tuple[int, int]]
    ) -> list[Candidate]:
        """Each of the stored submissions in ``scores`` graded against a profile, the likeliest duplicates first."""
        found = [
            Candidate(
                s,
                scores[s.id],
                self.engine.models.pairs.compare(profile, other, "search"),
                memberships.get(s.id, (None,))[0],
            )
            for s, other in self._profiles.get(sorted(scores))
        ]
        return sorted(found, key=lambda c: (-c.comparison.duplicate, -c.score, c.stored.id))

    def _near(self, document: Document, vector: FloatArray, mine: set[int], number: int | None) -> dict[int, float]:
        """Number → cosine of the stored submissions to be graded, without ``number`` itself."""
        index = self.engine.index.follow(self.store)
        scores = index.candidates(vector, search_terms(document), without=number)
        latest = [n for n in sorted(mine, reverse=True) if n not in scores][:_SAME_VOICE]
        own = {n: index.vectors.cosine(vector, n) for n in latest}
        return scores | {n: cosine for n, cosine in own.items() if cosine is not None}

    def suggest(self, report: Report = lambda *_: None) -> Suggestions:
        """Suggested cases over everything that is in no open case, leads of open cases included.

        Identical texts (white space aside) count as one while pairs are graded: they are duplicates by definition,
        and a campaign's copies would fill each other's list of neighbours. ``report(what, done, total)``. Raises
        QueueFull where others fill the queue; what was graded till then is kept.
        """
        links, memberships = self.cases.links(), self.cases.memberships()
        copies: dict[str, list[int]] = {}
        digests: dict[int, str] = {}
        for item in self.store.everything():
            standing = item.id not in links and memberships.get(item.id, (0, item.id))[1] == item.id
            if standing:
                text = normalise(f"{item.submission.title}\n{item.submission.text}").text
                copies.setdefault("".join(text.split()), []).append(item.id)
                digests[item.id] = item.submission.sha256()
        groups = self._grouped({numbers[0]: numbers for numbers in copies.values()}, digests, report)
        return self._suggestions(groups, {lead: case for case, lead in memberships.values()})

    def _grouped(self, copies: dict[int, list[int]], digests: dict[int, str], report: Report) -> list[Group]:
        """Groups of submissions in which all pairs are duplicates; ``copies``: first of identical ones → all."""
        grades = Grades(self.store, self.engine.models.pairs.name, digests)

        def grade(pairs: Sequence[tuple[int, int]]) -> list[float | None]:
            fresh = [pair for pair in pairs if pair not in grades]
            if fresh:
                grades.add(dict(zip(fresh, self.engine.run(lambda: self._graded(fresh)), strict=True)))
            return [grades[pair] for pair in pairs]

        pairs = self._candidates(list(copies))
        for start in range(0, len(pairs), _TURN):
            grade(pairs[start : start + _TURN])
            report("比对", min(start + _TURN, len(pairs)), len(pairs))
        groups = complete_linkage(pairs, grade)
        grouped = {key for group in groups for key in group.keys}
        groups += [Group((key,), 1.0) for key, same in copies.items() if len(same) > 1 and key not in grouped]
        return [Group(tuple(n for key in g.keys for n in copies[key]), g.probability) for g in groups]

    def _candidates(self, numbers: Sequence[int]) -> list[tuple[int, int]]:
        """Pairs worth grading among ``numbers``, in the order to grade them."""
        among = np.array(sorted(numbers), dtype=np.int64)
        pairs: set[tuple[int, int]] = set()
        for start in range(0, len(numbers), _LOOKED_UP):
            some = numbers[start : start + _LOOKED_UP]
            pairs |= self.engine.run(lambda some=some: self._pairs(some, among))  # type: ignore[misc]
        return _near_order(pairs)

    def _pairs(self, numbers: Sequence[int], among: Keys) -> set[tuple[int, int]]:
        """Each of ``numbers`` with its candidates ``among`` those (ascending), lower number first."""
        index, words = self.engine.index.follow(self.store), words_of(self.store, numbers)
        pairs = set()
        for key in numbers:
            vector = index.vectors.get(key)
            if vector is not None:
                near = index.candidates(vector, words.get(key, []), among, without=key)
                pairs |= {(min(key, other), max(key, other)) for other in near}
        return pairs

    def _graded(self, pairs: Sequence[tuple[int, int]]) -> list[float | None]:
        """P(duplicate) of each pair, None where it is not graded so. On the encoder's thread only."""
        numbers = sorted({number for pair in pairs for number in pair})
        profiles = {stored.id: profile for stored, profile in self._profiles.get(numbers)}
        there = [(a, b) for a, b in pairs if {a, b} <= profiles.keys()]  # the others were erased meanwhile
        met = [(profiles[a], profiles[b]) for a, b in there]
        p = self.engine.models.pairs.probabilities(met, "search") if met else ()
        found = {pair: float(row[0]) for pair, row in zip(there, p, strict=True) if row.argmax() == 0}
        return [found.get(pair) for pair in pairs]

    def _suggestions(self, groups: Sequence[Group], leads: dict[int, int]) -> Suggestions:
        """Groups as cases; what a submitter repeats in a group is a follow-up. ``leads``: lead → its open case."""
        suggested: list[Suggestion] = []
        follow_ups: list[FollowUp] = []
        for group in groups:
            stored = sorted(self.store.get_many(group.keys), key=lambda s: (s.id not in leads, *_arrival(s)))
            first: dict[tuple[str, str], Stored] = {}
            members: list[Stored] = []
            for item in stored:
                voice = voice_of(item.submission.submitter)
                earlier = first.setdefault(voice, item) if voice else item
                if item.id in leads and members:
                    continue  # two open cases about one matter: only a person can undo one of them
                if earlier is item:
                    members.append(item)
                else:
                    follow_ups.append(FollowUp(item, earlier, group.probability))
            if len(members) > 1:
                voices = count_voices(m.submission.submitter for m in members)
                suggested.append(Suggestion(tuple(members), voices, group.probability, leads.get(members[0].id)))
        suggested.sort(key=lambda s: (-len(s.members), -s.probability, s.members[0].id))
        return Suggestions(tuple(suggested), tuple(sorted(follow_ups, key=lambda f: f.stored.id)))

    def view(self, number: int) -> CaseView:
        """A case with what each member adds; raises NotFound, QueueFull."""
        case = self.cases.get(number)
        stored = self.store.get_many(case.members)
        added: list[tuple[Span, ...]] = []
        for start in range(0, len(stored), _TURN):
            portion = stored[start : start + _TURN]
            added += self.engine.run(lambda portion=portion: self._added(stored[0], portion))  # type: ignore[misc]
        later = self.cases.later(case.members)
        members = (Member(s, a, tuple(self.store.get_many(later[s.id]))) for s, a in zip(stored, added, strict=True))
        return CaseView(self.cases.outline(case), tuple(members), tuple(self.cases.history(number)))

    def _added(self, lead: Stored, members: Sequence[Stored]) -> list[tuple[Span, ...]]:
        read = self.engine.read([(s.submission.title, s.submission.text) for s in (lead, *members)])
        same = [m.submission.text == lead.submission.text for m in members]
        return [() if s else added_sentences(*read[0], *r) for s, r in zip(same, read[1:], strict=True)]


def _near_order(pairs: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs along a walk over the graph they make, breadth first: what is kept is used again before it goes."""
    near: dict[int, list[int]] = {}
    for a, b in sorted(pairs):
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    rank: dict[int, int] = {}
    for start in near:
        walk = [start] if start not in rank else []
        for key in walk:  # grows while it is walked
            if key not in rank:
                rank[key] = len(rank)
                walk += [other for other in near[key] if other not in rank]
    return sorted(pairs, key=lambda pair: sorted((rank[pair[0]], rank[pair[1]]), reverse=True))


def _arrival(item: Stored) -> tuple[float, int]:
    """By time of receipt, the undated last, then by number."""
    received = item.submission.received_at
    return (datetime.fromisoformat(received).timestamp() if received else float("inf"), item.id)
