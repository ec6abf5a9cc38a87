"""How calls are admitted, many at a time: hold what they ask for, then decide one after the other, in arrival order.

The counters are locked by adding to them what all the calls together ask for, as if all of it were granted, which it
usually is. Only then are principals and limits read, so that a change which has committed holds from the next admission
on; and what was not granted is taken out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from chatapi.domain.calls import Admission, Decision, Grant, HeldCall, Refusal
from chatapi.domain.counters import Counter, CounterKey, counter_key, kept_counters, named_counters
from chatapi.domain.limits import NOTHING, Amount, Denial, Limit, Standing, decide
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, window_end
from chatapi.storage.counters import Counters, Sums
from chatapi.storage.principals import Asker, Facts

Place = tuple[Claims, str, str]  # who asks, through which worker, for which model


@dataclass(slots=True)
class Seat:
    """What the calls of one principal, worker and model have in common.

    Args:
        moment: the instant of this batch at its tenant; None when there is no such tenant.
        facts: what holds for the principal.
        named: the counters that only limits name, which these calls enter.
        measured: the limits that hold for these calls, and the counter that each is measured by.
        asked, granted: the holds of all of them together.
    """

    moment: Moment | None
    facts: Facts | None = None
    named: list[CounterKey] = field(default_factory=list)
    measured: list[tuple[Limit, CounterKey]] = field(default_factory=list)
    asked: Amount = NOTHING
    granted: Amount = NOTHING


class Asking:
    """The admissions of one batch, in the order in which they arrived.

    Args:
        admissions: what is asked.
        moments: the instant of this batch at each tenant.
        lease_s: how long a worker's lease lives.
    """

    def __init__(self, admissions: Sequence[Admission], moments: Mapping[str, Moment], lease_s: float) -> None:
        self._admissions = admissions
        self._lease = timedelta(seconds=lease_s)
        self._seats: dict[Place, Seat] = {}
        for admission in admissions:
            place = (admission.claims, admission.worker_id, admission.model)
            seat = self._seats.get(place)
            if seat is None:
                seat = self._seats[place] = Seat(moments.get(admission.claims.tenant_id))
            seat.asked = seat.asked.plus(admission.need.most)
        self.held: list[HeldCall] = []
        """The calls that were admitted, when it is decided."""

    @property
    def askers(self) -> set[Asker]:
        """Who asks."""
        return {(claims, worker_id) for claims, worker_id, _ in self._seats}

    def hold_kept(self, sums: Sums) -> None:
        """Add to `sums` what is asked of the counters that are always kept."""
        for (claims, _, _), seat in self._seats.items():
            if seat.moment is not None:
                sums.add(kept_counters(claims, seat.moment.day), Counter(NOTHING, seat.asked))

    def hold_named(self, sums: Sums, facts: Mapping[Asker, Facts]) -> None:
        """The same for the counters that only limits name. The facts were read after the others had been locked."""
        for (claims, worker_id, model), seat in self._seats.items():
            seat.facts, moment = facts[claims, worker_id], seat.moment
            if moment is None:
                continue
            rules, place = seat.facts.rules, (claims, moment.day, moment.now)
            seat.named = named_counters(rules.named, model, *place)
            sums.add(seat.named, Counter(NOTHING, seat.asked))
            seat.measured = [
                (limit, counter_key(limit.scope, limit.window, limit.model, *place))
                for limit in rules.limits
                if limit.model in ("", model)
            ]

    def decide(self, found: Counters) -> list[Decision]:
        """Decide, as the counters were found when everything had been added."""
        room = dict(found)
        for (claims, _, _), seat in self._seats.items():
            _hold(room, claims, seat, -seat.asked)
        return [self._decide(admission, room) for admission in self._admissions]

    def take_back(self, sums: Sums) -> None:
        """Add to `sums` what was asked and not granted, negative."""
        for (claims, _, _), seat in self._seats.items():
            if seat.moment is not None and seat.granted != seat.asked:
                less = Counter(NOTHING, seat.granted - seat.asked)
                sums.add(kept_counters(claims, seat.moment.day), less)
                sums.add(seat.named, less)

    def _decide(self, admission: Admission, room: Counters) -> Decision:
        seat = self._seats[admission.claims, admission.worker_id, admission.model]
        facts, moment = seat.facts, seat.moment
        if facts is None or moment is None or not facts.in_force:
            return Refusal.UNKNOWN_ACCESS_TOKEN
        if facts.renewed_at is None or facts.renewed_at + self._lease <= moment.now:
            return Refusal.LEASE_EXPIRED
        standings = standings_of(seat.measured, room, moment)
        fit = decide(admission.need, standings, moment.now)
        if isinstance(fit, Denial):
            return fit
        if admission.need.loose and fit.completion_granted < admission.need.completion_wanted:
            return Refusal.COUNT_FIRST
        call = HeldCall.of(admission, moment, fit.completion_granted)
        hold = call.hold
        _hold(room, admission.claims, seat, hold)
        seat.granted = seat.granted.plus(hold)
        self.held.append(call)
        return Grant(call, fit.bounded, tuple(standing.after(NOTHING, hold) for standing in standings), moment.now)


def standings_of(measured: Sequence[tuple[Limit, CounterKey]], found: Counters, moment: Moment) -> list[Standing]:
    """How limits stand, by their counters; one that has no row has counted nothing."""
    result = []
    for limit, key in measured:
        counter = found.get(key, Counter())
        used, held = counter.used.of(limit.metric), counter.held.of(limit.metric)
        result.append(Standing(limit, used, held, window_end(limit.window, moment), moment.now))
    return result


def _hold(room: Counters, claims: Claims, seat: Seat, amount: Amount) -> None:
    if seat.moment is None:
        return
    for key in (*kept_counters(claims, seat.moment.day), *seat.named):
        there = room[key]
        room[key] = Counter(there.used, there.held.plus(amount))
