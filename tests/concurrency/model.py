"""What the ledger must say, in plain Python and without any database: the model for the state machine."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from chatapi.domain.calls import HeldCall
from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Metric, Need
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window

CounterPlace = tuple[str, str, str, str, str, str]  # tenant, scope, scope's id, window, the window's key, model
Figures = tuple[int, int, int, int]  # requests used and held, tokens used and held
RollupPlace = tuple[str, str, str, str, str]  # tenant, user, access token, model, day
LimitPlace = tuple[str, str, Metric, Window, str]  # scope, its id, metric, window, model
SCOPES = ("access_token", "user", "tenant")
METRICS = (Metric.REQUESTS, Metric.TOKENS)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Worker:
    """A worker and when it last renewed its lease."""

    id: str
    renewed_at: datetime


@dataclass
class Call:
    """A call: what it holds while it is held, and what it was charged otherwise. `lost`: no row of it is left."""

    id: str
    claims: Claims
    worker: str
    day: str
    prompt_bound: int
    completion_granted: int
    deadline_at: datetime
    state: str
    held: HeldCall | None = None  # what its gateway knows of it; None when that never learnt of the admission
    model: str = "tiny"
    admitted_at: datetime = LONG_AGO
    tried: int = 0  # what a minute counts: 1 once it has ended, unless it was never sent
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def hold(self) -> int:
        """The tokens that it holds while it is held."""
        return self.prompt_bound + self.completion_granted

    def charge(self, state: str, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Leave the state for another, with a charge."""
        self.tried = 1
        self.state, self.requests = state, requests
        self.prompt_tokens, self.completion_tokens = prompt_tokens, completion_tokens


@dataclass
class Model:
    """The installation as it must be. It is told everything that happens, in order."""

    now: datetime
    lease_s: float
    deadline_s: float
    defaults: Defaults
    calls: dict[str, Call] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    limits: dict[LimitPlace, int | None] = field(default_factory=dict)
    grants: dict[str, tuple[CounterPlace, Metric, int]] = field(default_factory=dict)  # so much more, in one counter
    zones: dict[str, list[tuple[datetime, str]]] = field(default_factory=dict)  # tenant → since when which
    refused: set[str] = field(default_factory=set)  # ids of tenants, users and access tokens that are not in force

    # What is asked
    def zone(self, tenant_id: str) -> ZoneInfo:
        """The tenant's time zone now."""
        return ZoneInfo([name for since, name in self.zones[tenant_id] if since <= self.now][-1])

    def day(self, tenant_id: str) -> str:
        """The tenant's local date now."""
        return self.now.astimezone(self.zone(tenant_id)).strftime("%Y-%m-%d")

    def counters(self) -> dict[CounterPlace, tuple[int, int, int, int]]:
        """Requests used and held, tokens used and held; without counters of nothing."""
        sums: Tally[tuple[CounterPlace, int]] = Tally()
        for call in self.calls.values():
            for place in places_of(call):
                for position, figure in enumerate(figures_of(call, place[3])):
                    sums[place, position] += figure
        found = {place for (place, _), figure in sums.items() if figure}
        return {place: (sums[place, 0], sums[place, 1], sums[place, 2], sums[place, 3]) for place in found}

    def names(self, place: CounterPlace) -> bool:
        """Whether a limit has the counter kept, and its window is open: others may say anything, or be gone."""
        tenant_id, scope, scope_id, window, key, model = place
        if key not in (self.day(tenant_id), self.day(tenant_id)[:7], self.minute(), ""):
            return False
        whose = [(scope, scope_id)] + ([("each_user", tenant_id)] if scope == "user" else [])
        return any((*who, metric, Window(window), model) in self.limits for who in whose for metric in Metric)

    def minute(self) -> str:
        """The key of the minute that is open."""
        return self.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")

    def rollups(self) -> dict[RollupPlace, tuple[int, int, int]]:
        """Requests, prompt tokens, completion tokens; without rows of nothing."""
        sums: Tally[tuple[RollupPlace, int]] = Tally()
        for call in self.calls.values():
            place = (*call.claims, call.model, call.day)
            for position, figure in enumerate((call.requests, call.prompt_tokens, call.completion_tokens)):
                sums[place, position] += figure
        found = {place for (place, _), figure in sums.items() if figure}
        return {place: (sums[place, 0], sums[place, 1], sums[place, 2]) for place in found}

    def states(self) -> dict[str, str]:
        """The state of every call that has a row."""
        return {call.id: call.state for call in self.calls.values() if call.state != "lost"}

    def alive(self, worker_id: str) -> bool:
        """Whether the worker's lease is in force."""
        worker = self.workers.get(worker_id)
        return worker is not None and self.now < worker.renewed_at + timedelta(seconds=self.lease_s)

    def doomed(self) -> list[Call]:
        """The calls that a sweep must expire now."""
        held = [call for call in self.calls.values() if call.state == "held"]
        return [call for call in held if not self.alive(call.worker) or call.deadline_at <= self.now]

    def expected(self, claims: Claims, worker_id: str, need: Need, model: str) -> str | int:
        """How an admission must end: how much completion is granted, or what it is refused for."""
        if self.refused & {claims.tenant_id, claims.user_id, claims.jti}:
            return "unknown_access_token"
        if not self.alive(worker_id):
            return "lease_expired"
        granted, waiting_helps, fits = need.completion_wanted, True, True
        for used, held, metric, value in self._in_force(claims, model):
            least = 1 if metric is Metric.REQUESTS else need.prompt_bound + need.completion_least
            if used + held + least > value:
                fits = False
                waiting_helps &= used + least <= value
            elif metric is Metric.TOKENS:
                granted = min(granted, value - used - held - need.prompt_bound)
        if not fits:
            return "held" if waiting_helps else "used_up"
        return granted - granted % need.choices

    def _in_force(self, claims: Claims, model: str) -> list[tuple[int, int, Metric, int]]:
        day, counters, found = self.day(claims.tenant_id), self.counters(), []
        keys = {Window.AT_ONCE: "", Window.MINUTE: self.minute(), Window.DAY: day, Window.MONTH: day[:7]}
        ids = zip(SCOPES, (claims.jti, claims.user_id, claims.tenant_id), strict=True)
        for (scope, scope_id), metric, window, of in product(ids, METRICS, Window, ("", model)):
            value = self._limit(scope, scope_id, claims.tenant_id, metric, window, of)
            place = (claims.tenant_id, scope, scope_id, window.value, keys[window], of)
            more = sum(granted for *which, granted in self.grants.values() if which == [place, metric])
            figures = counters.get(place, (0, 0, 0, 0))
            used, held = figures[:2] if metric is Metric.REQUESTS else figures[2:]
            if value is not None:
                found.append((used, held, metric, value + more))
        return found

    def _limit(
        self, scope: str, scope_id: str, tenant_id: str, metric: Metric, window: Window, model: str
    ) -> int | None:
        own: LimitPlace = (scope, scope_id, metric, window, model)
        if own in self.limits or scope != "user":
            return self.limits.get(own)
        each: LimitPlace = ("each_user", tenant_id, metric, window, model)
        default = self.defaults.get((metric, window)) if not model else None
        return self.limits.get(each, default)

    # What happens
    def admit(self, call: Call) -> None:
        """A call was admitted."""
        assert call.id not in self.calls, "admitted twice"
        self.calls[call.id] = call

    def settle(self, call_id: str, state: str, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
        """The truth about a call came; the first one stands."""
        call = self.calls[call_id]
        if call.state in {"held", "expired", "lost"}:
            call.charge("released" if state == "abandoned" else state, requests, prompt_tokens, completion_tokens)
            call.tried = int(state != "abandoned")

    def expire(self, call_id: str) -> int:
        """A call expires, if it is held; how many did."""
        call = self.calls[call_id]
        if call.state != "held":
            return 0
        call.charge("expired", 0, call.prompt_bound, call.completion_granted)
        return 1

    def lose(self, call_id: str) -> None:
        """A fail-over lost the admission's transaction."""
        self.calls[call_id].state = "lost"


def places_of(call: Call) -> list[CounterPlace]:
    """The counters that a call enters, if they are kept."""
    claims, minute = call.claims, call.admitted_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    ids = zip(SCOPES, (claims.jti, claims.user_id, claims.tenant_id), strict=True)
    windows = (("day", call.day), ("month", call.day[:7]), ("minute", minute), ("at_once", ""))
    return [
        (claims.tenant_id, scope, scope_id, window, key, model)
        for (scope, scope_id), (window, key), model in product(ids, windows, ("", call.model))
    ]


def only(
    is_meant: Callable[[CounterPlace], bool], counters: Mapping[CounterPlace, tuple[int, int, int, int]]
) -> dict[CounterPlace, tuple[int, int, int, int]]:
    """Those of the counters that are meant."""
    return {place: figures for place, figures in counters.items() if is_meant(place)}


def is_kept(place: CounterPlace) -> bool:
    """Whether the counter is kept whether a limit names it or not."""
    return place[3] in ("day", "month") and not place[5]


def figures_of(call: Call, window: str) -> tuple[int, int, int, int]:
    """Requests used and held, tokens used and held, as a counter of this window counts the call."""
    held = call.state == "held"
    requests = call.tried if window == "minute" else call.requests
    used = (0, 0) if window == "at_once" else (requests, call.prompt_tokens + call.completion_tokens)
    return used[0], int(held), used[1], call.hold if held else 0


def utc(text: str) -> datetime:
    """An instant, written as ISO 8601 without its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
