"""Attempts after a call's first, which the admission writes. They are rare, so each has a transaction of its own."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from chatapi.domain.calls import AttemptState, CallState, HeldCall
from chatapi.storage.engine import Database
from chatapi.storage.tables import attempts, calls


def begin_next(
    database: Database, call: HeldCall, number: int, upstream: str, model: str, *, last: AttemptState
) -> bool:
    """Write attempt `number` of a call as sent, before anything is sent, and what became of the one before it. That one
    has not begun to answer: the settlement of an answered call looks for no later attempt.

    Args:
        database: where.
        call: as admitted; its row is locked meanwhile, so that nobody ends the call between.
        number: from 2 on.
        upstream: who is tried now.
        model: as this upstream knows it.
        last: what became of attempt `number - 1`.

    Returns:
        False when the call is not held any more: nothing is written, and nothing may be sent.

    Raises:
        DatabaseUnavailable: it cannot be written, so nothing may be sent.
    """
    tenant_id = call.claims.tenant_id
    here = (calls.c.tenant_id == tenant_id, calls.c.id == call.call_id)
    with database.write() as connection:
        state = connection.execute(select(calls.c.state).where(*here).with_for_update()).scalar_one_or_none()
        if state != CallState.HELD.value:
            return False
        now = database.now(connection)
        its = (attempts.c.tenant_id == tenant_id, attempts.c.call_id == call.call_id)
        outcome = {"state": last.value, "ended_at": now}
        connection.execute(update(attempts).where(*its, attempts.c.number == number - 1).values(outcome))
        row = {"number": number, "upstream": upstream, "model": model, "state": AttemptState.SENT.value}
        row |= {"tenant_id": tenant_id, "call_id": call.call_id, "started_at": now}
        connection.execute(insert(attempts), row)
        connection.execute(update(calls).where(*here).values(upstream=upstream))
        return True
