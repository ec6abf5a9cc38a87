"""What the state machine plays with: a database that fails as told, and how the model is kept beside it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy import Connection, delete, select, update

from chatapi.domain.calls import Abandonment, Admission, Grant, HeldCall, Settlement
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.principals import Claims
from chatapi.domain.windows import KEPT, Window, window_key
from chatapi.errors import DatabaseUnavailable
from chatapi.settings import Settings
from chatapi.storage import tables
from chatapi.storage.admin_tables import grants
from chatapi.storage.engine import LOCK_WAIT_S, Database
from chatapi.storage.grants import LimitGrant, insert_grant
from chatapi.storage.guessing import GuessedWrong
from chatapi.storage.tickets import Ticket
from tests.concurrency.batch import Batch, Pending, figures_of, said
from tests.concurrency.model import SCOPES, Call, CounterPlace, Figures, Model
from tests.concurrency.world import DEADLINE_S, LEASE_S, Clock, World

TRIES = 3
DEFAULTS = {(Metric.REQUESTS, Window.DAY): 4, (Metric.TOKENS, Window.DAY): 300}


class FlakyDatabase(Database):
    """A database whose next write transactions fail as told.

    `refused` fails before anything was written; `lost` while it commits, and nothing was written; `done` while it
    commits, and everything was.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings, clock)
        self.faults: deque[str] = deque()

    @contextmanager
    def write(self, wait_s: float = LOCK_WAIT_S, *, urgent: bool = False) -> Iterator[Connection]:
        """As told."""
        fault = self.faults.popleft() if self.faults else ""
        if fault == "refused":
            raise DatabaseUnavailable
        try:
            with super().write(wait_s, urgent=urgent) as connection:
                yield connection
                if fault == "lost":
                    connection.rollback()
        except GuessedWrong:  # the same is done again at once, and that is what is to fail
            self.faults.appendleft(fault)
            raise
        if fault:
            raise DatabaseUnavailable


class Game(RuleBasedStateMachine):
    """Two tenants in two time zones on one database, and what the rules of `machine.py` are made of."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        world = self.world
        assert isinstance(world.database, FlakyDatabase) and world.clock is not None
        self.database, self.clock = world.database, world.clock
        self.database.faults = deque()
        self.owed: list[tuple[Call, str, tuple[int, int, int]]] = []
        self.people = list(world.users.values())
        self.workers: list[str] = []
        self.model = Model(self.clock.now, LEASE_S, DEADLINE_S, DEFAULTS)

    def _pick(self, among: list[Any], index: int) -> Any:
        return among[index % len(among)]

    def _known(self) -> list[Call]:
        """The calls that a gateway has been given."""
        return [call for call in self.model.calls.values() if call.held is not None]

    def _move_to(self, instant: datetime) -> None:
        self.clock.now = self.model.now = instant

    def _set_limit(self, whose: int, which: int, value: int | None, changed_at: datetime) -> None:
        claims: Claims = self._pick(self.people, whose)
        scope = self._pick([*SCOPES, "each_user"], which)
        metric, window = (Metric.REQUESTS, Metric.TOKENS)[which // 4 % 2], self._pick(list(Window), which // 8)
        model = ("", "tiny")[which // 32 % 2]
        ids = {"access_token": claims.jti, "user": claims.user_id}
        scope_id = ids.get(scope, claims.tenant_id)
        self.world.set_limit(
            scope, scope_id, metric, window, value, tenant_id=claims.tenant_id, changed_at=changed_at, model=model
        )
        self.model.limits[scope, scope_id, metric, window, model] = value

    def _grant_or_withdraw(self, whose: int, which: int, value: int) -> None:
        if not value:
            if self.model.grants:
                grant_id = self._pick(list(self.model.grants), whose)
                del self.model.grants[grant_id]
                self.world.change("grants", grant_id, withdrawn_at=self.model.now)
            return
        claims: Claims = self._pick(self.people, whose)
        limited = [("user", claims.user_id, *place, "") for place in DEFAULTS]
        limited += [place for place in self.model.limits if place[1] in claims and place[0] in SCOPES]
        limited = [place for place in limited if place[3] in KEPT]
        scope, scope_id, metric, window, model = self._pick(limited, which)
        grant = LimitGrant(
            tenant_id=claims.tenant_id,
            scope=Scope(scope),
            scope_id=scope_id,
            metric=metric,
            window=window,
            window_key=window_key(window, self.model.day(claims.tenant_id)),
            model=model,
            value=value,
            reason="",
            granted_at=self.model.now,
            ends_at=self.model.now,
        )
        with self.database.write() as connection:
            insert_grant(connection, grant)
        place = (claims.tenant_id, scope, scope_id, window.value, grant.window_key, model)
        self.model.grants[grant.id] = (place, metric, value)

    def _new_call(self, admission: Admission, granted: int, state: str = "held", held: HeldCall | None = None) -> Call:
        deadline, day = self.model.now + timedelta(seconds=DEADLINE_S), self.model.day(admission.claims.tenant_id)
        bound = admission.need.prompt_bound
        return Call(
            admission.call_id,
            admission.claims,
            admission.worker_id,
            day,
            bound,
            granted,
            deadline,
            state,
            held,
            model=admission.model,
            admitted_at=self.model.now,
        )

    def _admission_failed(self, admission: Admission, faults: list[str], expected: str | int) -> None:
        """An admission failed: if in doubt, it is written as released as soon as the database takes that."""
        refused = next(number for number, fault in enumerate(faults) if fault != "refused")
        call = self._new_call(admission, 0, "held")
        if faults[refused] == "done" and isinstance(expected, int):
            call.completion_granted = expected
            self.model.admit(call)
        if not self._write_end(call, "abandoned", (0, 0, 0), faults[refused + 1 :]):
            self.repay()  # at once, as the time at which it is written decides on the day of such a call

    def _end(self, call: Call, settlement: Settlement, faults: list[str]) -> None:
        self.database.faults = deque(faults)
        try:
            taken = self.world.writer.submit(settlement)
        finally:
            self.database.faults = deque()
        charge, usage = settlement.charge, settlement.charge.usage
        figures = (int(charge.answered), usage.prompt_tokens, usage.completion_tokens)
        assert taken == self._write_end(call, settlement.state.value, figures, faults)

    def submit_batch(
        self,
        settlements: list[tuple[Call, Settlement]],
        doubted: list[Admission],
        admissions: list[Admission],
        faults: list[str],
    ) -> None:
        """Ends, admissions that were in doubt, and admissions, submitted together while the database fails as told."""
        writer, self.database.faults = self.world.writer, deque(faults)
        try:
            ended = [settlement for _, settlement in settlements]
            tickets = writer.submit_all([*ended, *(Abandonment(admission) for admission in doubted), *admissions])
            outcomes = [outcome_of(ticket) for ticket in tickets]
        finally:
            self.database.faults = deque()
        ends = [Pending(call, settlement.state.value, figures_of(settlement)) for call, settlement in settlements]
        ends += [Pending(self._new_call(admission, 0), "abandoned", (0, 0, 0)) for admission in doubted]
        batch = Batch(self.model, ends, admissions, self._new_call)
        batch.play(faults)
        owed = {end.call.id for end in batch.owed}
        called = [call.id for call, _ in settlements] + [admission.call_id for admission in doubted]
        assert outcomes[: len(called)] == [None if call_id in owed else True for call_id in called]
        decisions = [outcome for outcome in outcomes[len(called) :] if outcome is not None]
        assert [said(decision) for decision in decisions] == batch.expected
        for decision in decisions:
            if isinstance(decision, Grant):
                self.model.calls[decision.call.call_id].held = decision.call
        self.owed += [(end.call, end.state, end.figures) for end in batch.owed]
        if any(end.state == "abandoned" for end in batch.owed):
            self.repay()  # at once, as the time at which it is written decides on the day of such a call

    def _write_end(self, call: Call, state: str, figures: tuple[int, int, int], faults: list[str]) -> bool:
        """What the writer does with the truth about a call while the database fails. Returns whether it was taken."""
        for fault in [*faults, *[""] * TRIES][:TRIES]:
            if fault in ("", "done"):
                self.model.calls.setdefault(call.id, call)
                self.model.settle(call.id, state, *figures)
            if fault == "":
                return True
        assert self.world.writer.owes(call.id)
        self.owed.append((call, state, figures))
        return False

    def repay(self) -> None:
        """What the database did not take is written now, in the order in which it came."""
        assert self.world.writer.repay() == 0
        for call, state, figures in self.owed:
            self.model.calls.setdefault(call.id, call)
            self.model.settle(call.id, state, *figures)
        self.owed = []


def outcome_of(ticket: Ticket) -> Any:
    """What became of an item: the decision, True for an end that was taken, or None for what has failed."""
    try:
        outcome = ticket.wait()
    except DatabaseUnavailable:
        return None
    return True if isinstance(outcome, bool) else outcome


def held_of(call: Call) -> HeldCall:
    """What the call's gateway knows of it."""
    assert call.held is not None
    return call.held


def empty(world: World) -> None:
    """Forget all calls, limits, grants and workers, and serve everybody again."""
    with world.database.write() as connection:
        connection.execute(delete(grants))
        for table in (tables.attempts, tables.calls, tables.counters, tables.usage_days, tables.limits, tables.workers):
            connection.execute(delete(table))
        connection.execute(update(tables.users).values(status="active"))
        connection.execute(update(tables.access_tokens).values(revoked_at=None))
        for name, zone in (("tokyo", "Asia/Tokyo"), ("berlin", "Europe/Berlin")):
            values = {"timezone": zone, "next_timezone": None, "next_timezone_from": None, "status": "active"}
            connection.execute(update(tables.tenants).where(tables.tenants.c.name == name).values(values))


def read_counters(connection: Connection) -> dict[CounterPlace, Figures]:
    """As `Model.counters` has it, and those that only limits name."""
    key = [tables.counters.c[name] for name in ("tenant_id", "scope", "scope_id", "window", "window_key", "model")]
    names = ("requests_used", "requests_held", "tokens_used", "tokens_held", "cost_used", "cost_held")
    rows = connection.execute(select(*key, *(tables.counters.c[name] for name in names)))
    found = {tuple(row[:6]): tuple(row[6:]) for row in rows}
    assert all(figures[4:] == (0, 0) for figures in found.values())
    return {
        cast("CounterPlace", place): cast("Figures", figures[:4]) for place, figures in found.items() if any(figures)
    }


def read_rollups(connection: Connection) -> dict[tuple[str, ...], tuple[int, ...]]:
    """As `Model.rollups` has it."""
    key = [tables.usage_days.c[name] for name in ("tenant_id", "user_id", "jti", "model", "day")]
    figures = [tables.usage_days.c[name] for name in ("requests", "prompt_tokens", "completion_tokens")]
    rows = connection.execute(select(*key, *figures))
    return {tuple(row[:5]): tuple(row[5:]) for row in rows if any(row[5:])}
