"""One call as the ledger has it, with its attempts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, select

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage.calls import held_call
from chatapi.storage.retention import calls_since
from chatapi.storage.tables import attempts, calls, tenants, users

__all__ = ["Attempt", "KeptCall", "attempts_of", "calls_since", "find_call", "kept_call", "names_of"]


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A call as it was admitted, and what has become of it.

    `held.cost_bound` is None where the call's cost is unknown; where another upstream than the one that answered had
    no price the ledger says 0.
    """

    held: HeldCall
    state: CallState
    charge: Charge
    ended: str | None
    expired_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a call at one upstream."""

    number: int
    upstream: str
    model: str
    state: AttemptState
    started_at: datetime
    ended_at: datetime | None
    upstream_id: str | None


def kept_call(row: RowMapping) -> KeptCall:
    """Read a row of `calls`."""
    tokens = (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"], row["reasoning_tokens"])
    usage = Usage(*tokens, UsageSource(row["usage_source"]))
    charge = Charge(row["answered"], usage, None if row["unpriced"] else row["cost"])
    state, ended = CallState(row["state"]), row["ended"]
    return KeptCall(held_call(row), state, charge, ended, row["expired_at"], row["ended_at"])


def find_call(connection: Connection, call_id: str, owner: Claims | None = None) -> KeptCall | None:
    """The call of this id; with an owner only if it is that user's own."""
    statement = select(calls).where(calls.c.id == call_id)
    if owner is None:
        statement = statement.where(calls.c.tenant_id.in_(select(tenants.c.id)))  # so that the key is used
    else:
        statement = statement.where(calls.c.tenant_id == owner.tenant_id, calls.c.user_id == owner.user_id)
    row = connection.execute(statement).mappings().first()
    return None if row is None else kept_call(row)


def attempts_of(connection: Connection, call: HeldCall) -> list[Attempt]:
    """The attempts of a call, the first one first."""
    names = ("number", "upstream", "model", "state", "started_at", "ended_at", "upstream_id")
    its = (attempts.c.tenant_id == call.claims.tenant_id, attempts.c.call_id == call.call_id)
    rows = connection.execute(select(*(attempts.c[name] for name in names)).where(*its).order_by(attempts.c.number))
    return [Attempt(row[0], row[1], row[2], AttemptState(row[3]), *row[4:]) for row in rows]


def names_of(connection: Connection, claims: Claims) -> tuple[str, str]:
    """The names of a user and its tenant."""
    here = (users.c.tenant_id == claims.tenant_id, users.c.id == claims.user_id)
    found = select(users.c.username, tenants.c.name).join(tenants, tenants.c.id == users.c.tenant_id).where(*here)
    row = connection.execute(found).one()
    return row.username, row.name
