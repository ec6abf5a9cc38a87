"""What the audit looks for in single calls and their attempts (I3, I4)."""

from __future__ import annotations

from sqlalchemy import Select, and_, exists, func, literal, not_, or_, select

from chatapi.storage.audit_limits import is_lost
from chatapi.storage.columns import Row
from chatapi.storage.tables import attempts, calls


def calls_that_contradict_themselves() -> Select[Row]:
    """Calls whose state, times and charge do not agree."""
    free = and_(not_(calls.c.answered), calls.c.prompt_tokens + calls.c.completion_tokens + calls.c.cost == 0)
    open_ended = and_(calls.c.ended_at.is_(None))
    at_hold = and_(
        not_(calls.c.answered),
        calls.c.prompt_tokens + calls.c.completion_tokens == calls.c.prompt_bound + calls.c.completion_granted,
        calls.c.cost == calls.c.cost_bound,
        calls.c.usage_source == "hold",
    )
    ended = and_(calls.c.ended_at.is_not(None), calls.c.ended.is_not(None), calls.c.ended_at >= calls.c.admitted_at)
    right = or_(
        and_(
            calls.c.state == "held",
            open_ended,
            calls.c.ended.is_(None),
            calls.c.expired_at.is_(None),
            free,
            calls.c.usage_source == "none",
        ),
        and_(calls.c.state == "expired", open_ended, calls.c.expired_at >= calls.c.admitted_at, at_hold),
        and_(calls.c.state == "settled", ended),
        and_(calls.c.state == "released", ended, free, calls.c.usage_source == "none"),
    )
    names = (
        "state",
        "answered",
        "usage_source",
        "prompt_tokens",
        "completion_tokens",
        "cost",
        "expired_at",
        "ended_at",
        "ended",
    )
    return select(calls.c.tenant_id, calls.c.id, *(calls.c[name] for name in names)).where(
        func.coalesce(not_(right), literal(True))
    )


def attempts_unlike_calls() -> Select[Row]:
    """Attempts that did not end as their calls did; of several, those before the last that answered all the same."""
    later, earlier = attempts.alias("later"), attempts.alias("earlier")
    one_before = and_(
        earlier.c.tenant_id == attempts.c.tenant_id,
        earlier.c.call_id == attempts.c.call_id,
        earlier.c.number < attempts.c.number,
    )
    at_risk = exists().where(one_before, earlier.c.state == "unknown").correlate(attempts)
    under_way = and_(attempts.c.state == "sent", attempts.c.ended_at.is_(None))
    over = attempts.c.ended_at.is_not(None)
    right = or_(
        and_(later.c.call_id.is_not(None), attempts.c.state.in_(["refused", "unknown"]), over),
        and_(later.c.call_id.is_(None), calls.c.state.in_(["held", "expired"]), under_way),
        and_(
            later.c.call_id.is_(None), calls.c.state == "settled", attempts.c.state.in_(["answered", "unknown"]), over
        ),
        and_(later.c.call_id.is_(None), calls.c.state == "settled", attempts.c.state == "refused", over, at_risk),
        and_(later.c.call_id.is_(None), calls.c.state == "released", attempts.c.state == "refused", over),
    )
    its = and_(attempts.c.tenant_id == calls.c.tenant_id, attempts.c.call_id == calls.c.id)
    next_one = and_(
        later.c.tenant_id == attempts.c.tenant_id,
        later.c.call_id == attempts.c.call_id,
        later.c.number == attempts.c.number + 1,
    )
    names = (calls.c.tenant_id, calls.c.id, calls.c.state, attempts.c.number)
    return (
        select(*names, attempts.c.state.label("attempt"), attempts.c.ended_at)
        .select_from(calls.join(attempts, its).outerjoin(later, next_one))
        .where(not_(right))
    )


def calls_without_attempt() -> Select[Row]:
    """Calls whose first attempt has no row, or one from before the admission.

    Of a call whose row was lost and written again, its end knows the last attempt only.
    """
    its = and_(attempts.c.tenant_id == calls.c.tenant_id, attempts.c.call_id == calls.c.id)
    first = and_(its, or_(attempts.c.number == 1, is_lost()))
    missing = or_(attempts.c.call_id.is_(None), attempts.c.started_at < calls.c.admitted_at)
    names = (calls.c.tenant_id, calls.c.id, calls.c.state, calls.c.admitted_at, attempts.c.started_at)
    return select(*names).select_from(calls.outerjoin(attempts, first)).where(missing)
