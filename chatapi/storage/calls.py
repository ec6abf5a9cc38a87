"""Rows of calls and their attempts, and the compare-and-set by which a call changes its state. Many rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Executable,
    FromClause,
    Integer,
    RowMapping,
    Text,
    Update,
    case,
    cast,
    func,
    literal_column,
    select,
    text,
    update,
)

from chatapi.domain.calls import CallState, Charge, HeldCall
from chatapi.domain.principals import Claims
from chatapi.storage.columns import ID, Row, UtcDateTime
from chatapi.storage.given import Kind, Statement, Types, stamp
from chatapi.storage.guessing import expected
from chatapi.storage.tables import attempts, calls

Place = tuple[str, str]  # a tenant's id and the call's
HELD = CallState.HELD.value

PLACE: Types = {"tenant_id": ID, "id": ID}
ADMITTED: Types = {
    **PLACE,
    **dict.fromkeys(("user_id", "jti", "worker_id"), ID),
    **dict.fromkeys(("state", "endpoint", "model", "upstream", "day"), Text()),
    **dict.fromkeys(("prompt_bound", "completion_granted", "cost_bound"), BigInteger()),
    "unpriced": Boolean(),
    **dict.fromkeys(("admitted_at", "deadline_at"), UtcDateTime()),
}
ENDED: Types = {
    "state": Text(),
    "expired_at": UtcDateTime(),
    "ended_at": UtcDateTime(),
    "ended": Text(),
    "answered": Boolean(),
    "usage_source": Text(),
    **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost"), BigInteger()),
    "unpriced": Boolean(),
}
ATTEMPT: Types = {"attempt": Text(), "upstream_id": Text(), "number": Integer()}
SENT: Types = {"sent_model": Text()}


def place_of(call: HeldCall) -> Place:
    """Where the call's row is."""
    return call.claims.tenant_id, call.call_id


def insert_held(connection: Connection, admitted: Sequence[HeldCall]) -> None:
    """Write calls as held, each with its first attempt as sent.

    Raises:
        IntegrityError: a call is there already.
    """
    rows = [call_row(connection, call, HELD) for call in admitted]
    for row, call in zip(rows, admitted, strict=True):
        row.update(sent(call), attempt="sent")
    _INSERT_HELD.run(connection, rows)


def insert_ended(connection: Connection, rows: Sequence[Row]) -> set[Place]:
    """Write calls that have ended already, with their attempts. Returns those that were not there."""
    written = {(row[0], row[1]) for row in _INSERT_ENDED.run(connection, sorted(rows, key=_place))}
    _INSERT_ATTEMPTS.run(connection, [row for row in rows if (row["tenant_id"], row["id"]) in written])
    return written


def lock(connection: Connection, places: Iterable[Place]) -> Callable[[], dict[Place, CallState]]:
    """Lock calls, in order of their keys.

    Returns:
        What waits for it and says which state each is in. Those without a row are absent.
    """
    answer = _LOCK.ask(connection, [{"tenant_id": tenant_id, "id": id_} for tenant_id, id_ in sorted(places)])
    return lambda: {(row[0], row[1]): CallState(row[2]) for row in answer()}


def move(connection: Connection, rows: Sequence[Row]) -> None:
    """Move locked calls out of the state `before`, with their charges and what became of their attempts."""
    _MOVE.run(connection, rows)


def move_held(connection: Connection, rows: Sequence[Row]) -> None:
    """Move calls that are expected to be held, and locked on PostgreSQL: `GuessedWrong`, there later, if one is not."""
    _MOVE_HELD.run(connection, rows)


def find(connection: Connection, tenant_id: str, call_id: str) -> HeldCall:
    """The call as it was admitted."""
    return held_call(
        connection.execute(select(calls).where(calls.c.tenant_id == tenant_id, calls.c.id == call_id)).mappings().one()
    )


def held_call(row: RowMapping) -> HeldCall:
    """Read a row of `calls` as the admission wrote it."""
    fields: Row = {name: row[name] for name in HeldCall._fields if name in row}
    claims = Claims(str(row["tenant_id"]), str(row["user_id"]), str(row["jti"]))
    fields["cost_bound"] = None if row["unpriced"] else row["cost_bound"]
    return HeldCall(call_id=str(row["id"]), claims=claims, **fields)


def call_row(connection: Connection, call: HeldCall, state: str) -> Row:
    """The columns that an admission writes."""
    claims = call.claims
    return {
        "tenant_id": claims.tenant_id,
        "id": call.call_id,
        "user_id": claims.user_id,
        "jti": claims.jti,
        "worker_id": call.worker_id,
        "state": state,
        "endpoint": call.endpoint,
        "model": call.model,
        "upstream": call.upstream,
        "day": call.day,
        "prompt_bound": call.prompt_bound,
        "completion_granted": call.completion_granted,
        "cost_bound": call.cost_bound or 0,
        "unpriced": call.cost_bound is None,
        "admitted_at": stamp(connection, call.admitted_at),
        "deadline_at": stamp(connection, call.deadline_at),
    }


def sent(call: HeldCall) -> Row:
    """What the row of an attempt says besides, when it is written."""
    return {"sent_model": call.sent_model or call.model}


def end_row(
    state: CallState,
    charge: Charge,
    ended: str,
    *,
    ended_at: str | None,
    expired_at: str | None,
) -> Row:
    """The columns that say how a call ended and what it was charged. Instants are as given rows carry them; an absent
    one stays what it was."""
    usage = charge.usage
    return {
        "state": state.value,
        "expired_at": expired_at,
        "ended_at": ended_at,
        "ended": ended,
        "answered": charge.answered,
        "usage_source": usage.source.value,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": charge.cost or 0,
        "unpriced": charge.cost is None,
    }


def _place(row: Row) -> Place:
    return row["tenant_id"], row["id"]


def _insert_call(kind: Kind, given: FromClause, types: Iterable[str]) -> Any:
    names = list(types)
    return kind.insert(calls).from_select(names, select(*(given.c[name] for name in names)).where(text("true")))


def _insert_attempt(kind: Kind, given: FromClause, *, ended: bool) -> Executable:
    values: Row = {
        "tenant_id": given.c["tenant_id"],
        "call_id": given.c["id"],
        "number": given.c["number"] if ended else literal_column("1"),
        "upstream": given.c["upstream"],
        "model": given.c["sent_model"],
        "state": given.c["attempt"],
        "started_at": given.c["admitted_at"],
    }
    if ended:
        values |= {"ended_at": given.c["ended_at"], "upstream_id": given.c["upstream_id"]}
    statement: Executable = kind.insert(attempts).from_select(list(values), select(*values.values()))
    return statement


def _insert_held(kind: Kind, given: FromClause) -> list[Executable]:
    call, attempt = _insert_call(kind, given, ADMITTED), _insert_attempt(kind, given, ended=False)
    # A plan of PostgreSQL's locks the tables of the last one first: calls, then attempts, as retention does.
    return [call, attempt] if kind.is_sqlite else [attempt, call]


def _insert_ended(kind: Kind, given: FromClause) -> list[Executable]:
    insert = _insert_call(kind, given, [*ADMITTED, *(name for name in ENDED if name not in ADMITTED)])
    return [insert.on_conflict_do_nothing().returning(cast(calls.c.tenant_id, Text), cast(calls.c.id, Text))]


def _lock(_kind: Kind, given: FromClause) -> list[Executable]:
    places = select(cast(calls.c.tenant_id, Text), cast(calls.c.id, Text), calls.c.state).select_from(given)
    there = places.where(calls.c.tenant_id == given.c["tenant_id"], calls.c.id == given.c["id"])
    return [there.order_by(calls.c.tenant_id, calls.c.id).with_for_update(of=calls)]


def _move(_kind: Kind, given: FromClause) -> list[Update]:
    values: Row = {name: given.c[name] for name in ENDED if name not in {"expired_at", "ended_at"}}
    for name in ("expired_at", "ended_at"):
        values[name] = func.coalesce(given.c[name], calls.c[name])
    here = (calls.c.tenant_id == given.c["tenant_id"], calls.c.id == given.c["id"], calls.c.state == given.c["before"])
    its = (attempts.c.tenant_id == given.c["tenant_id"], attempts.c.call_id == given.c["id"])
    outcome = {"state": given.c["attempt"], "ended_at": given.c["ended_at"], "upstream_id": given.c["upstream_id"]}
    # Also a later one: its commit was in doubt, so it was never sent. Said as one condition on the given row: by a
    # number alone PostgreSQL would look through all attempts.
    known = attempts.c.number >= case((given.c["attempt"].is_not(None), given.c["number"]))
    return [update(calls).where(*here).values(values), update(attempts).where(*its, known).values(outcome)]


def _move_held(kind: Kind, given: FromClause) -> list[Executable]:
    move_calls, move_attempts = _move(kind, given)
    if kind.is_sqlite:
        return [move_calls, move_attempts]
    moved = move_calls.returning(calls.c.id).cte("moved")
    everyone = select(func.count()).select_from(moved).scalar_subquery()
    check = select(expected(everyone == select(func.count()).select_from(given).scalar_subquery()))
    return [move_attempts, check.add_cte(moved)]  # named first, calls are locked before attempts


_INSERT_HELD = Statement({**ADMITTED, "attempt": Text(), **SENT}, _insert_held)
_INSERT_ENDED = Statement({**ADMITTED, **ENDED}, _insert_ended, returns=True)
_INSERT_ATTEMPTS = Statement(
    {**ADMITTED, **ENDED, **ATTEMPT, **SENT}, lambda kind, given: [_insert_attempt(kind, given, ended=True)]
)
_LOCK = Statement(PLACE, _lock, returns=True)
_MOVE = Statement({**PLACE, "before": Text(), **ENDED, **ATTEMPT}, _move)
_MOVE_HELD = Statement({**PLACE, "before": Text(), **ENDED, **ATTEMPT}, _move_held, expected=True)
