"""The ledger's statements: admit, settle, abandon, expire. Each runs inside its caller's transaction and commits
nothing.

A call leaves `held` by compare-and-set on its state, so that of a settlement, its replay and a sweep exactly one moves
the counters (invariant I3); call rows are locked before counters, and counters before roll-ups (docs/metering.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select
from uuid_utils import uuid7

from chatapi.domain.calls import (
    Admission,
    AttemptState,
    CallState,
    Charge,
    Decision,
    Grant,
    HeldCall,
    Refusal,
    Settlement,
    counters_of,
)
from chatapi.domain.effective_limits import Defaults
from chatapi.domain.limits import Amount, Denial, Standing, decide
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment
from chatapi.storage import calls, counters, principals, rollups
from chatapi.storage.calls import charge_row
from chatapi.storage.counters import Change, Key
from chatapi.storage.engine import Database
from chatapi.storage.tables import workers


@dataclass(frozen=True, slots=True)
class Left:
    """What a call had in the counters before it left its state: its hold, or what it was charged when it expired."""

    hold: Amount
    charge: Charge


@dataclass(frozen=True, slots=True)
class Ledger:
    """The statements, with what they need to know of the installation: default limits, and how long a lease lives."""

    database: Database
    defaults: Defaults
    lease_s: float

    def admit(self, connection: Connection, admission: Admission) -> Decision:
        """Decide one admission and, when it fits, hold its bound and write its call and first attempt.

        What is denied writes nothing. The principal and the limits are read after the counters are locked, so that a
        change which has committed holds from the next admission on.
        """
        claims, now = admission.claims, self.database.now(connection)
        moment = principals.moment(connection, claims, now)
        if moment is None:
            return Refusal.UNKNOWN_ACCESS_TOKEN
        keys: list[Key] = [(claims.tenant_id, key) for key in counters_of(claims, moment.day)]
        found = counters.add(connection, dict.fromkeys(keys, Change()))
        refusal = self._refusal(connection, admission, now)
        if refusal is not None:
            connection.rollback()
            return refusal
        standings = principals.standings(connection, self.defaults, claims, found, moment)
        fit = decide(admission.need, standings, now)
        if isinstance(fit, Denial):
            connection.rollback()
            return fit
        if admission.need.loose and fit.completion_granted < admission.need.completion_wanted:
            connection.rollback()
            return Refusal.COUNT_FIRST
        call = _held(admission, moment, fit.completion_granted)
        counters.add(connection, dict.fromkeys(keys, Change(held=call.hold)))
        if not calls.insert(connection, call, CallState.HELD, AttemptState.SENT):
            raise ValueError(f"call {call.call_id} was admitted before")
        return Grant(call, fit.bounded, tuple(standing.after(Amount(), call.hold) for standing in standings), now)

    def settle(self, connection: Connection, settlement: Settlement) -> bool:
        """Write the truth about a call, once. Returns False when it was already there (a replay).

        From `held` the hold leaves the counters; from `expired` the charge at the hold is corrected; a call whose row
        was lost is written again.
        """
        call, charge = settlement.call, settlement.charge
        left = self._leave(connection, settlement)
        if left is None:
            return False
        change = Change(charge.amount - left.charge.amount, -left.hold)
        counters.add(connection, {(call.claims.tenant_id, key): change for key in counters_of(call.claims, call.day)})
        if charge != left.charge:
            rollups.add(connection, [(call, charge, left.charge)])
        return True

    def abandon(self, connection: Connection, admission: Admission) -> bool:
        """End an admission whose commit is in doubt: write the call as released, or release it if it is there.

        Writing its row, rather than looking for it, keeps a commit that is still under way from succeeding later.
        """
        now = self.database.now(connection)
        moment = principals.moment(connection, admission.claims, now)
        if moment is None:
            return False
        call = _held(admission, moment, 0)
        released = {"ended": "abandoned", "ended_at": now}
        if calls.insert(connection, call, CallState.RELEASED, AttemptState.REFUSED, **released):
            return True
        there = calls.find(connection, admission.claims.tenant_id, admission.call_id)
        return self.settle(
            connection, Settlement(there, CallState.RELEASED, Charge(), "abandoned", AttemptState.REFUSED)
        )

    def expire(self, connection: Connection, doomed: list[HeldCall]) -> int:
        """Expire held calls: charge tokens and cost at the hold, count no request. Returns how many still were held."""
        now, changes, expired = self.database.now(connection), dict[Key, Change](), []
        for call in sorted(doomed, key=lambda call: (call.claims.tenant_id, call.call_id)):
            charge = Charge.at_hold(call)
            if not calls.change(
                connection, call, CallState.HELD, CallState.EXPIRED, charge, expired_at=now, ended="expired"
            ):
                continue
            expired.append((call, charge, Charge()))
            for key in counters_of(call.claims, call.day):
                place = (call.claims.tenant_id, key)
                changes[place] = changes.get(place, Change()) + Change(charge.amount, -call.hold)
        if expired:
            counters.add(connection, changes)
            rollups.add(connection, expired)
        return len(expired)

    def _leave(self, connection: Connection, settlement: Settlement) -> Left | None:
        """Move the call out of its state. Returns what it had in the counters until now, or None for a replay."""
        call, now = settlement.call, self.database.now(connection)
        truth = {"ended_at": now, "ended": settlement.ended}
        known = {CallState.HELD: Left(call.hold, Charge()), CallState.EXPIRED: Left(Amount(), Charge.at_hold(call))}
        for _ in range(2):  # a second look, should the row have appeared between the first one and our own insert
            for state, left in known.items():
                if calls.change(connection, call, state, settlement.state, settlement.charge, **truth):
                    calls.end_attempt(connection, settlement, now)
                    return left
            lost = truth | {
                "expired_at": now
            }  # its hold is gone: for invariant I1 the truth is as late as an expired call's
            if calls.insert(
                connection, call, settlement.state, settlement.attempt, **lost, **charge_row(settlement.charge)
            ):
                calls.end_attempt(connection, settlement, now)
                return Left(Amount(), Charge())
        return None

    def standings(self, connection: Connection, claims: Claims) -> list[Standing] | None:
        """How every limit of a principal stands now, read without locks; None when its access token is not in force."""
        now = self.database.now(connection)
        moment = principals.moment(connection, claims, now)
        if moment is None or not principals.in_force(connection, claims, now):
            return None
        found = counters.read(connection, claims.tenant_id, counters_of(claims, moment.day))
        return principals.standings(connection, self.defaults, claims, found, moment)

    def _refusal(self, connection: Connection, admission: Admission, now: datetime) -> Refusal | None:
        if not principals.in_force(connection, admission.claims, now):
            return Refusal.UNKNOWN_ACCESS_TOKEN
        renewed_at = connection.execute(
            select(workers.c.renewed_at).where(workers.c.id == admission.worker_id)
        ).scalar()
        if renewed_at is None or renewed_at + timedelta(seconds=self.lease_s) <= now:
            return Refusal.LEASE_EXPIRED
        return None


def new_id() -> str:
    """A time-ordered id (UUID version 7, RFC 9562)."""
    return str(uuid7())


def _held(admission: Admission, moment: Moment, completion_granted: int) -> HeldCall:
    return HeldCall(
        call_id=admission.call_id,
        claims=admission.claims,
        worker_id=admission.worker_id,
        endpoint=admission.endpoint,
        model=admission.model,
        upstream=admission.upstream,
        day=moment.day,
        prompt_bound=admission.need.prompt_bound,
        completion_granted=completion_granted,
        cost_bound=0,
        admitted_at=moment.now,
        deadline_at=moment.now + timedelta(seconds=admission.deadline_s),
    )
