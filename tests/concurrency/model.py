"""What the ledger must say, in plain Python and without any database: the model for the state machine."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from chatapi.domain.calls import HeldCall
from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Metric, Need
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window

CounterPlace = tuple[str, str, str, str, str]  # tenant, scope, scope's id, window, the window's key
RollupPlace = tuple[str, str, str, str]  # tenant, user, model, day
LimitPlace = tuple[str, str, Metric, Window]  # scope, its id, metric, window
SCOPES = ("access_token", "user", "tenant")


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
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def hold(self) -> int:
        """The tokens that it holds while it is held."""
        return self.prompt_bound + self.completion_granted

    def charge(self, state: str, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Leave the state for another, with a charge."""
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
                sums[place, 0] += call.requests
                sums[place, 1] += call.state == "held"
                sums[place, 2] += call.prompt_tokens + call.completion_tokens
                sums[place, 3] += call.hold if call.state == "held" else 0
        found = {place for (place, _), figure in sums.items() if figure}
        return {place: (sums[place, 0], sums[place, 1], sums[place, 2], sums[place, 3]) for place in found}

    def rollups(self) -> dict[RollupPlace, tuple[int, int, int]]:
        """Requests, prompt tokens, completion tokens; without rows of nothing."""
        sums: Tally[tuple[RollupPlace, int]] = Tally()
        for call in self.calls.values():
            place = (call.claims.tenant_id, call.claims.user_id, "tiny", call.day)
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

    def expected(self, claims: Claims, worker_id: str, need: Need) -> str | int:
        """How an admission must end: how much completion is granted, or what it is refused for."""
        if self.refused & {claims.tenant_id, claims.user_id, claims.jti}:
            return "unknown_access_token"
        if not self.alive(worker_id):
            return "lease_expired"
        granted, waiting_helps, fits = need.completion_wanted, True, True
        for used, held, metric, value in self._in_force(claims):
            least = 1 if metric is Metric.REQUESTS else need.prompt_bound + need.completion_least
            if used + held + least > value:
                fits = False
                waiting_helps &= used + least <= value
            elif metric is Metric.TOKENS:
                granted = min(granted, value - used - held - need.prompt_bound)
        if not fits:
            return "held" if waiting_helps else "used_up"
        return granted - granted % need.choices

    def _in_force(self, claims: Claims) -> list[tuple[int, int, Metric, int]]:
        day, counters, found = self.day(claims.tenant_id), self.counters(), []
        for scope, scope_id in zip(SCOPES, (claims.jti, claims.user_id, claims.tenant_id), strict=True):
            for metric in (Metric.REQUESTS, Metric.TOKENS):
                for window, key in ((Window.DAY, day), (Window.MONTH, day[:7])):
                    value = self._limit(scope, scope_id, claims.tenant_id, metric, window)
                    figures = counters.get((claims.tenant_id, scope, scope_id, window.value, key), (0, 0, 0, 0))
                    used, held = figures[:2] if metric is Metric.REQUESTS else figures[2:]
                    if value is not None:
                        found.append((used, held, metric, value))
        return found

    def _limit(self, scope: str, scope_id: str, tenant_id: str, metric: Metric, window: Window) -> int | None:
        own: LimitPlace = (scope, scope_id, metric, window)
        if own in self.limits or scope != "user":
            return self.limits.get(own)
        each: LimitPlace = ("each_user", tenant_id, metric, window)
        return self.limits[each] if each in self.limits else self.defaults.get((metric, window))

    # What happens
    def admit(self, call: Call) -> None:
        """A call was admitted."""
        assert call.id not in self.calls, "admitted twice"
        self.calls[call.id] = call

    def settle(self, call_id: str, state: str, requests: int, prompt_tokens: int, completion_tokens: int) -> None:
        """The truth about a call came; the first one stands."""
        call = self.calls[call_id]
        if call.state in {"held", "expired", "lost"}:
            call.charge(state, requests, prompt_tokens, completion_tokens)

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
    """The counters that a call enters."""
    claims = call.claims
    ids = zip(SCOPES, (claims.jti, claims.user_id, claims.tenant_id), strict=True)
    windows = (("day", call.day), ("month", call.day[:7]))
    return [(claims.tenant_id, scope, scope_id, *window) for scope, scope_id in ids for window in windows]


def utc(text: str) -> datetime:
    """An instant, written as ISO 8601 without its zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
