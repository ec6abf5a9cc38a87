"""How calls are admitted, many at a time: hold what they ask for, then decide one after the other, in arrival order.

The counters are locked by adding to them what all the calls together ask for, as if all of it were granted, which it
usually is. Only then are principals and limits read, so that a change which has committed holds from the next admission
on; and what was not granted is taken out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from chatapi.domain.calls import Admission, Decision, Grant, HeldCall, Outdated, Refusal
from chatapi.domain.counters import Counter, CounterKey, counter_key, kept_counters, named_counters
from chatapi.domain.limits import METRICS, NOTHING, Amount, Denial, Limit, Metric, Standing, decide
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, window_end
from chatapi.storage.counters import Counters, Sums
from chatapi.storage.idempotency import Keys
from chatapi.storage.principals import Asker, Facts

Place = tuple[Claims, str, str]  # who asks, through which worker, for which model


class Meter:
    """A counter while a batch is decided: requests, tokens, cost that are used, and that are held."""

    __slots__ = ("held", "used")

    def __init__(self, counter: Counter) -> None:
        self.used, self.held = list(counter.used), list(counter.held)

    def hold(self, amount: Amount) -> None:
        """Hold more; a negative amount gives back."""
        held = self.held
        held[0] += amount[0]
        held[1] += amount[1]
        held[2] += amount[2]


class Measured(NamedTuple):
    """A limit, what it is measured by and at which place of that, and when its window ends."""

    limit: Limit
    meter: Meter
    at: int
    resets_at: datetime

    @classmethod
    def of(cls, limit: Limit, meter: Meter, moment: Moment) -> Measured:
        """A limit at a tenant's moment."""
        return cls(limit, meter, METRICS[limit.metric], window_end(limit.window, moment))


def _stand(measured: Iterable[Measured], now: datetime) -> tuple[Standing, ...]:
    """How limits stand."""
    return tuple([Standing(limit, meter.used[at], meter.held[at], end, now) for limit, meter, at, end in measured])


@dataclass(slots=True)
class Seat:
    """What the calls of one principal, worker and model have in common.

    Args:
        moment: the instant of this batch at its tenant; None when there is no such tenant.
        facts: what holds for the principal.
        named: the counters that only limits name, which these calls enter.
        limits: the limits that hold for these calls, and the counter that each is measured by.
        asked, granted: the holds of all of them together.
        measured: the limits with what they are measured by.
        meters: what they are measured by, each once.
        limits_cost: whether one of the limits is on cost.
    """

    moment: Moment | None
    facts: Facts | None = None
    named: list[CounterKey] = field(default_factory=list)
    limits: list[tuple[Limit, CounterKey]] = field(default_factory=list)
    asked: Amount = NOTHING
    granted: Amount = NOTHING
    measured: list[Measured] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    limits_cost: bool = False

    def measure(self, meters: Mapping[CounterKey, Meter]) -> None:
        """Know what the limits are measured by; of that, what was asked for here is not held yet."""
        if self.moment is not None:
            self.measured = [Measured.of(limit, meters[key], self.moment) for limit, key in self.limits]
            self.meters = [meters[key] for key in {key for _, key in self.limits}]
            self.limits_cost = any(limit.metric is Metric.COST for limit, _ in self.limits)
        for meter in self.meters:
            meter.hold(-self.asked)


class Asking:
    """The admissions of one batch, in the order in which they arrived.

    Args:
        admissions: what is asked.
        moments: the instant of this batch at each tenant.
        lease_s: how long a worker's lease lives.
    """

    def __init__(self, admissions: Sequence[Admission], moments: Mapping[str, Moment], lease_s: float) -> None:
        self.admissions = admissions
        """What is asked."""
        self._lease = timedelta(seconds=lease_s)
        self._seats: dict[Place, Seat] = {}
        self.moments = moments
        """The instant of this batch at each tenant."""
        self.keys = Keys()
        """The idempotency keys that are asked for."""
        for admission in admissions:
            place = (admission.claims, admission.worker_id, admission.model)
            seat = self._seats.get(place)
            if seat is None:
                seat = self._seats[place] = Seat(moments.get(admission.claims.tenant_id))
            seat.asked = seat.asked.plus(admission.need.hold(admission.need.completion_wanted))
            if admission.key is not None and seat.moment is not None:
                self.keys.ask(admission, seat.moment.now)
        self.held: list[HeldCall] = []
        """The calls that were admitted, when it is decided."""

    def be_at(self, moments: Mapping[str, Moment]) -> None:
        """What time it is indeed: the same days as before."""
        self.moments = moments
        for (claims, _, _), seat in self._seats.items():
            seat.moment = moments.get(claims.tenant_id)

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
            seat.limits = [
                (limit, counter_key(limit.scope, limit.window, limit.model, *place))
                for limit in rules.limits
                if limit.model in ("", model)
            ]

    @property
    def wanted(self) -> set[CounterKey]:
        """The counters by which it is decided."""
        return {key for seat in self._seats.values() for _, key in seat.limits}

    @property
    def most(self) -> dict[CounterKey, dict[Metric, int]]:
        """The lowest limit on each metric of the counters by which it is decided."""
        lowest: dict[CounterKey, dict[Metric, int]] = {}
        for seat in self._seats.values():
            for limit, key in seat.limits:
                metrics = lowest.setdefault(key, {})
                metrics[limit.metric] = min(limit.value, metrics.get(limit.metric, limit.value))
        return lowest

    def decide(self, found: Counters) -> list[Decision]:
        """Decide, as the counters were found when everything had been added."""
        meters = {key: Meter(found[key]) for seat in self._seats.values() for _, key in seat.limits}
        for seat in self._seats.values():
            seat.measure(meters)
        return [self._decide(admission) for admission in self.admissions]

    @property
    def is_granted_whole(self) -> bool:
        """Whether all that is asked has been granted, and nothing shortened, when it is decided."""
        return all(seat.granted == seat.asked for seat in self._seats.values())

    def stood(self, found: Counters) -> tuple[Standing, ...]:
        """How the limits stood of a call that is asked alone, before anything was added."""
        (seat,) = self._seats.values()
        assert seat.moment is not None  # else it was not granted
        seat.measure({key: Meter(found[key]) for _, key in seat.limits})
        return _stand(seat.measured, seat.moment.now)

    def take_back(self, sums: Sums) -> None:
        """Add to `sums` what was asked and not granted, negative."""
        for (claims, _, _), seat in self._seats.items():
            if seat.moment is not None and seat.granted != seat.asked:
                less = Counter(NOTHING, seat.granted - seat.asked)
                sums.add(kept_counters(claims, seat.moment.day), less)
                sums.add(seat.named, less)

    def _decide(self, admission: Admission) -> Decision:
        seat = self._seats[admission.claims, admission.worker_id, admission.model]
        facts, moment = seat.facts, seat.moment
        if facts is None or moment is None or not facts.in_force:
            return Refusal.UNKNOWN_ACCESS_TOKEN
        if facts.renewed_at is None or facts.renewed_at + self._lease <= moment.now:
            return Refusal.LEASE_EXPIRED
        if admission.key is not None and (repeat := self.keys.repeat(admission, moment.now)):
            return repeat
        if not facts.allows(admission.model):
            return Refusal.MODEL_NOT_ALLOWED
        if admission.planned is not None and not admission.planned.holds(facts.keys, moment.now):
            return Outdated(facts.keys, moment.now)
        return self._weigh(admission, seat, facts, moment)

    def _weigh(self, admission: Admission, seat: Seat, facts: Facts, moment: Moment) -> Decision:
        """Decide by the limits alone."""
        if admission.need.price is None and seat.limits_cost:
            return Refusal.UNPRICED
        found = _stand(seat.measured, moment.now)
        fit = decide(admission.need if facts.clamps else admission.need.whole(), found, moment.now)
        if isinstance(fit, Denial):
            return fit
        if admission.need.loose and fit.completion_granted < admission.need.completion_wanted:
            return Refusal.COUNT_FIRST
        call = HeldCall.of(admission, moment, fit.completion_granted)
        hold = call.hold
        for meter in seat.meters:
            meter.hold(hold)
        seat.granted = seat.granted.plus(hold)
        self.held.append(call)
        if admission.key is not None:
            self.keys.grant(admission)
        return Grant(call, fit.bounded, found, moment.now)


def standings_of(limits: Iterable[tuple[Limit, CounterKey]], found: Counters, moment: Moment) -> list[Standing]:
    """How limits stand, by their counters; one that has no row has counted nothing."""
    measured = [Measured.of(limit, Meter(found.get(key, Counter())), moment) for limit, key in limits]
    return list(_stand(measured, moment.now))
