"""Limits, counters and the decision: whether a call fits, how long its completion may be, or which limit is in the way.

Pure rules over values that `storage/ledger.py` has read under its locks, so that the decision can be tested without a
database and is the same on every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from chatapi.domain.money import in_dollars
from chatapi.domain.windows import Window, seconds_until


class Scope(StrEnum):
    """Whom a counter counts. The order is the order in which rows are locked: the busiest, the tenant's, last."""

    ACCESS_TOKEN = "access_token"
    USER = "user"
    TENANT = "tenant"


class Metric(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    COST = "cost"


class Amount(NamedTuple):
    """An amount of each metric: requests, tokens, nano-dollars."""

    requests: int = 0
    tokens: int = 0
    cost: int = 0

    def of(self, metric: Metric) -> int:
        """The amount of one metric."""
        return self[METRICS[metric]]

    def plus(self, other: Amount) -> Amount:
        """The sum of both."""
        return Amount(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self[0] - other[0], self[1] - other[1], self[2] - other[2])

    def __neg__(self) -> Amount:
        return Amount(-self[0], -self[1], -self[2])


METRICS = {metric: position for position, metric in enumerate(Metric)}
NOTHING = Amount()


class Limit(NamedTuple):
    """At most `value` of a metric in each window, for one scope, and for one model or any ('').

    `granted` of it is there in the window that is open only, because somebody granted so much more.
    """

    scope: Scope
    metric: Metric
    window: Window
    value: int
    model: str = ""
    granted: int = 0


class Standing(NamedTuple):
    """A limit with its numbers at one moment, the end of its window, and that moment: UTC, by the database's clock."""

    limit: Limit
    used: int
    held: int
    resets_at: datetime
    measured_at: datetime

    def after(self, used: Amount, held: Amount) -> Standing:
        """The standing once these amounts have been added."""
        at = METRICS[self.limit.metric]
        return Standing(self.limit, self.used + used[at], self.held + held[at], self.resets_at, self.measured_at)

    @property
    def resets_after_s(self) -> int:
        """Whole seconds until the window ends, by the clock that decided: this machine's own may be wrong."""
        return seconds_until(self.resets_at, self.measured_at)

    @property
    def left(self) -> int:
        """What is neither used nor held; never negative."""
        return max(0, self.limit.value - self.used - self.held)


class DenialKind(StrEnum):
    """Why a call does not fit: the window is used up, calls in flight hold the rest, or it is larger than the limit."""

    USED_UP = "used_up"
    HELD = "held"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Denial:
    """Which limit denied a call, what the call needed of it, when to come back, and how every limit stands."""

    standing: Standing
    needed: int
    retry_after_s: int
    standings: tuple[Standing, ...] = ()

    @property
    def kind(self) -> DenialKind:
        """Used up, held by calls in flight (which may give it back), or more than the limit ever allows."""
        if self.needed > self.standing.limit.value > 0:
            return DenialKind.TOO_LARGE
        if self.standing.used + self.needed > self.standing.limit.value:
            return DenialKind.USED_UP
        return DenialKind.HELD

    def explain(self) -> str:
        """One sentence for the client: the limit, its numbers and when it resets."""
        standing, limit = self.standing, self.standing.limit
        whose = limit.scope.replace("_", " ")
        when = "at once" if limit.window is Window.AT_ONCE else f"per {limit.window}"
        model = f" of {limit.model}" if limit.model else ""
        again = f"It resets at {standing.resets_at:%Y-%m-%dT%H:%M:%SZ}."
        if limit.window is Window.AT_ONCE:
            again = "There is room again when one of them ends."
        figures = (limit.value, limit.granted, standing.used, standing.held, self.needed)
        value, more, used, held, needed = (
            in_dollars(each) if limit.metric is Metric.COST else each for each in figures
        )
        granted = f" ({more} of it granted for this {limit.window} only)" if limit.granted else ""
        return (
            f"The limit of {value} {limit.metric}{model} {when}{granted} for this {whose} does not allow this call: "
            f"{used} used, {held} held by calls in flight, {needed} needed. {again}"
        )


class Price(NamedTuple):
    """The most that a token of a model may cost, and a call besides its tokens, in nano-dollars."""

    prompt: int
    completion: int
    call: int = 0


@dataclass(frozen=True, slots=True)
class Need:
    """The upper bound of a call, in tokens.

    Args:
        prompt_bound: no prompt of this call can be longer.
        completion_wanted: the completion asked for, all choices together.
        completion_least: the shortest completion worth sending the call for, all choices together.
        choices: over how many choices the completion is divided evenly.
        loose: whether `prompt_bound` is a rough one that counting can lower; then no completion is shortened for it.
        price: of its dearest candidate; None when nobody knows.
    """

    prompt_bound: int
    completion_wanted: int
    completion_least: int
    choices: int = 1
    loose: bool = False
    price: Price | None = None

    def hold(self, completion_granted: int) -> Amount:
        """What is set aside for the call if so much completion (tokens, all choices together) is granted."""
        return Amount(1, self.prompt_bound + completion_granted, self.cost(completion_granted))

    def whole(self) -> Need:
        """The same need of a call that is not to be shortened."""
        return replace(self, completion_least=self.completion_wanted)

    def cost(self, completion_tokens: int) -> int:
        """The most that the call may cost with so much completion, in nano-dollars; 0 when nobody knows its price."""
        if self.price is None:
            return 0
        price = self.price
        return self.prompt_bound * price.prompt + completion_tokens * price.completion + price.call


@dataclass(frozen=True, slots=True)
class Fit:
    """How much completion (tokens, all choices together) every limit allows, and whether any limit bounds it."""

    completion_granted: int
    bounded: bool


def decide(need: Need, standings: Sequence[Standing], now: datetime) -> Fit | Denial:
    """Whether `need` fits under every limit: `used + held + bound <= limit` (invariant I1).

    Near its end a limit on tokens shortens the completion instead of denying the call, down to `completion_least`.
    Of several limits in the way, one that waiting for calls in flight cannot help is named, the one that resets last.
    """
    granted, bounded, denials = need.completion_wanted, False, list[Denial]()
    for standing in standings:
        metric, room = standing.limit.metric, standing.limit.value - standing.used - standing.held
        least = 1
        if metric is Metric.TOKENS:
            bounded = True
            least = need.prompt_bound + need.completion_least
            granted = min(granted, room - need.prompt_bound)
        elif metric is Metric.COST:
            bounded = True
            least = need.cost(need.completion_least)
            granted = min(granted, _affordable(need, room))
        if room < least:
            denials.append(_deny(standing, least, now, tuple(standings)))
    if denials:
        return max(denials, key=lambda denial: (denial.kind is not DenialKind.HELD, denial.standing.resets_at))
    return Fit(granted - granted % need.choices, bounded)


def _affordable(need: Need, room: int) -> int:
    """How many completion tokens fit into `room` nano-dollars after the prompt."""
    if need.price is None or need.price.completion == 0:
        return need.completion_wanted
    return (room - need.cost(0)) // need.price.completion


def _deny(standing: Standing, needed: int, now: datetime, standings: tuple[Standing, ...]) -> Denial:
    denial = Denial(standing, needed, 1, standings)
    return (
        denial
        if denial.kind is DenialKind.HELD
        else replace(denial, retry_after_s=seconds_until(standing.resets_at, now))
    )


def tightest(standings: Iterable[Standing]) -> Mapping[Metric, Standing]:
    """Of each metric that is limited, the standing with the least left: what the rate-limit headers show.

    What calls in flight hold is no rate, and left out.
    """
    chosen: dict[Metric, Standing] = {}
    for standing in standings:
        if standing.limit.window is Window.AT_ONCE:
            continue
        best = chosen.get(standing.limit.metric)
        if best is None or standing.left < best.left:
            chosen[standing.limit.metric] = standing
    return chosen
