"""Counters: what a scope has used and what calls in flight hold. Which of them a call enters, and how it moves them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from chatapi.domain.calls import NO_CHARGE, Charge
from chatapi.domain.limits import NOTHING, Amount, Scope
from chatapi.domain.principals import Claims
from chatapi.domain.windows import KEPT, Window, minute_key, window_key

ABANDONED = "abandoned"  # how a call ended that was never sent: not even a minute counts it


class CounterKey(NamedTuple):
    """A counter: a scope's use in one window, of one model or of any ('')."""

    tenant_id: str
    scope: str
    scope_id: str
    window: str
    window_key: str
    model: str = ""


class Counter(NamedTuple):
    """What a scope has used and what calls in flight hold, in one window."""

    used: Amount = NOTHING
    held: Amount = NOTHING

    def plus(self, other: Counter) -> Counter:
        """The sum of both; as a change, negative amounts take away."""
        return Counter(self[0].plus(other[0]), self[1].plus(other[1]))

    @classmethod
    def total(cls, changes: Sequence[Counter]) -> Counter:
        """The sum of at least one."""
        used, held = zip(*changes, strict=True)
        return cls(Amount(*map(sum, zip(*used, strict=True))), Amount(*map(sum, zip(*held, strict=True))))


class Named(NamedTuple):
    """A counter that is kept only because a limit names it: of a minute, of what is in flight, or of one model."""

    scope: Scope
    window: Window
    model: str


@lru_cache(maxsize=8192)
def kept_counters(claims: Claims, day: str) -> tuple[CounterKey, ...]:
    """The counters that are kept of every call of the local date `day`, in the order in which they are locked."""
    tenant_id = claims.tenant_id
    scopes = ((Scope.ACCESS_TOKEN, claims.jti), (Scope.USER, claims.user_id), (Scope.TENANT, tenant_id))
    return tuple(
        CounterKey(tenant_id, scope.value, scope_id, window.value, window_key(window, day))
        for scope, scope_id in scopes
        for window in KEPT
    )


def named_counters(
    named: Iterable[Named], model: str, claims: Claims, day: str, admitted_at: datetime
) -> list[CounterKey]:
    """Those of the named counters that a call of this model, admitted at this instant, enters."""
    return [
        counter_key(name.scope, name.window, name.model, claims, day, admitted_at)
        for name in named
        if name.model in ("", model)
    ]


def counter_key(scope: Scope, window: Window, model: str, claims: Claims, day: str, instant: datetime) -> CounterKey:
    """The counter of one of a principal's scopes, in the window that holds this instant."""
    scope_id = {Scope.ACCESS_TOKEN: claims.jti, Scope.USER: claims.user_id, Scope.TENANT: claims.tenant_id}[scope]
    key = window_key(window, day) if window in KEPT else minute_key(instant) if window is Window.MINUTE else ""
    return CounterKey(claims.tenant_id, scope.value, scope_id, window.value, key, model)


class Left(NamedTuple):
    """What a call had in its counters before it left its state: its hold, or what it was charged when it expired."""

    hold: Amount
    charge: Charge
    expired: bool = False


def change_of(window: str, left: Left, charge: Charge, ended: str) -> Counter:
    """How a counter of this window changes when a call ends with this charge.

    A minute counts every attempt, answered or not; days and months count answered ones; what is in flight is only held.
    """
    if window == Window.AT_ONCE:
        return Counter(NOTHING, -left.hold)
    used = charge.amount
    if left.charge is not NO_CHARGE:
        used -= left.charge.amount
    if window == Window.MINUTE:
        used = used._replace(requests=int(ended != ABANDONED) - int(left.expired))
    return Counter(used, -left.hold)
