"""Rows of calls and their attempts, and the compare-and-set by which a call changes its state."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, select, update

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.principals import Claims
from chatapi.storage.counters import insert_for
from chatapi.storage.tables import Row, attempts, calls


def insert(connection: Connection, call: HeldCall, state: CallState, attempt: AttemptState, **more: Any) -> bool:
    """Write a call with its first attempt; `more` are further columns of it. False when its row is already there."""
    row = _call_row(call, state) | more
    statement = insert_for(connection)(calls).values(row).on_conflict_do_nothing().returning(calls.c.id)
    if connection.execute(statement).first() is None:
        return False
    connection.execute(attempts.insert(), _attempt_row(call, attempt) | {"ended_at": more.get("ended_at")})
    return True


def change(
    connection: Connection, call: HeldCall, before: CallState, after: CallState, charge: Charge, **more: Any
) -> bool:
    """Move a call from one state to another with its charge, if it is in the first. Returns whether it was."""
    here = (calls.c.tenant_id == call.claims.tenant_id, calls.c.id == call.call_id, calls.c.state == before.value)
    return (
        connection.execute(update(calls).where(*here).values(state=after.value, **charge_row(charge), **more)).rowcount
        == 1
    )


def end_attempt(connection: Connection, settlement: Settlement, now: datetime) -> None:
    """Write what became of the attempt at the upstream."""
    call = settlement.call
    connection.execute(
        update(attempts)
        .where(
            attempts.c.tenant_id == call.claims.tenant_id, attempts.c.call_id == call.call_id, attempts.c.number == 1
        )
        .values(state=settlement.attempt.value, ended_at=now, upstream_id=settlement.upstream_id)
    )


def find(connection: Connection, tenant_id: str, call_id: str) -> HeldCall:
    """The call as it was admitted."""
    return held_call(
        connection.execute(select(calls).where(calls.c.tenant_id == tenant_id, calls.c.id == call_id)).mappings().one()
    )


def held_call(row: RowMapping) -> HeldCall:
    """Read a row of `calls` as the admission wrote it."""
    fields: Row = {name: row[name] for name in HeldCall.__dataclass_fields__ if name in row}
    claims = Claims(str(row["tenant_id"]), str(row["user_id"]), str(row["jti"]))
    return HeldCall(call_id=str(row["id"]), claims=claims, **fields)


def _call_row(call: HeldCall, state: CallState) -> Row:
    row: Row = {
        name: getattr(call, name) for name in HeldCall.__dataclass_fields__ if name not in {"call_id", "claims"}
    }
    claims = {"tenant_id": call.claims.tenant_id, "user_id": call.claims.user_id, "jti": call.claims.jti}
    return row | claims | {"id": call.call_id, "state": state.value}


def charge_row(charge: Charge) -> Row:
    """The columns of a call that say what it was charged."""
    usage = charge.usage
    return {
        "answered": charge.answered,
        "usage_source": usage.source.value,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": charge.cost,
    }


def _attempt_row(call: HeldCall, state: AttemptState) -> Row:
    return {
        "tenant_id": call.claims.tenant_id,
        "call_id": call.call_id,
        "number": 1,
        "upstream": call.upstream,
        "model": call.model,
        "state": state.value,
        "started_at": call.admitted_at,
    }
