"""Two users of one tenant, whose calls and limits tests of named counters play with, at a time of their choice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import delete, update

from chatapi.domain.calls import AttemptState, CallState, Charge, Decision, Grant, HeldCall, Settlement
from chatapi.domain.counters import kept_counters
from chatapi.domain.effective_limits import LimitScope, Unset
from chatapi.domain.limits import Denial, Metric
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.domain.windows import Window
from chatapi.storage.limits import LimitChange, change_limits
from chatapi.storage.seeding import keep_named
from chatapi.storage.tables import attempts, calls, counters
from tests.concurrency.model import utc
from tests.concurrency.world import Clock, World, ask, world_of
from tests.support.history import id_at

NOON = utc("2026-03-21T12:00:00")
AT_HALF_PAST = NOON + timedelta(seconds=30)


@contextmanager
def somewhere(url: str, now: datetime) -> Iterator[World]:
    with world_of(url, clock=Clock(now)) as world:
        yield peopled(world)


def peopled(world: World) -> World:
    """The world, with the tenant and its users in it."""
    world.add_tenant("acme")
    for name in ("red", "blue"):
        world.add_user(name, "acme")
    return world


def submit(world: World, name: str, model: str = "tiny") -> Decision:
    """A call asks to be admitted."""
    assert world.clock is not None
    admission = ask(world.users[name], world.worker(), call_id=id_at(world.clock.now), model=model)
    return world.writer.submit(admission)


def held(world: World, name: str, model: str = "tiny") -> HeldCall:
    """A call that is admitted."""
    decision = submit(world, name, model)
    assert isinstance(decision, Grant)
    return decision.call


def denied(world: World, name: str, model: str = "tiny") -> Denial:
    """A call that is not."""
    decision = submit(world, name, model)
    assert isinstance(decision, Denial)
    return decision


def end(world: World, call: HeldCall, *, answered: bool = True) -> None:
    """A call ends: answered for 10 tokens, or never run."""
    charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
    settlement = Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)
    if not answered:
        settlement = Settlement(call, CallState.RELEASED, Charge(), "refused", AttemptState.REFUSED)
    world.writer.submit(settlement)


def lose(world: World, call: HeldCall) -> None:
    """A fail-over forgets an admission: its call, its attempt and what it holds of what is always counted."""
    columns, hold = counters.c, call.hold
    less = {"requests_held": columns.requests_held - 1, "tokens_held": columns.tokens_held - hold.tokens}
    with world.database.write() as connection:
        connection.execute(delete(attempts).where(attempts.c.call_id == call.call_id))
        connection.execute(delete(calls).where(calls.c.id == call.call_id))
        for key in kept_counters(call.claims, call.day):
            connection.execute(update(counters).filter_by(**key._asdict()).values(less))


def change_of(claims: Claims, scope: str, window: Window, value: int | Unset, model: str = "") -> LimitChange:
    scope_id = {"user": claims.user_id, "access_token": claims.jti}.get(scope, claims.tenant_id)
    return LimitChange(claims.tenant_id, LimitScope(scope), scope_id, Metric.REQUESTS, window, value, model)


def set_limit(world: World, scope: str, window: Window, value: int | Unset, model: str = "") -> None:
    """Set a limit of red's, or of its tenant's, on requests, as `chatapi limits set` does."""
    change = change_of(world.users["red"], scope, window, value, model)
    with world.database.write() as connection:
        change_limits(connection, [change], keep_named(connection, [change], world.database))


def numbers(denial: Denial) -> tuple[int, int]:
    """What is used and held of the limit in the way."""
    return denial.standing.used, denial.standing.held
