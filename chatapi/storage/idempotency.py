"""Rows of idempotency keys: taken with an admission, in its transaction; freed by whatever ends their calls badly.

A key's row says only which call took it. Whether it is free again stands in that call's own row, so a release frees it
in the transaction that releases the call, and so does a sweep or the replay of a journal, none of which knows of keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    FromClause,
    Text,
    and_,
    cast,
    delete,
    null,
    select,
    text,
    tuple_,
    update,
)

from chatapi.domain.calls import Admission, CallState, HeldCall
from chatapi.domain.idempotency import COMPLETED, KEPT_FOR, IdempotencyKey, Repeat, Taken
from chatapi.domain.principals import Claims
from chatapi.storage.columns import ID, Row, UtcDateTime
from chatapi.storage.engine import Database
from chatapi.storage.given import Answer, Kind, Statement, Types, insert_for, read_stamp, stamp
from chatapi.storage.tables import calls, idempotency_keys

KeyPlace = tuple[str, str, str]  # a tenant's id, the user's, the key's digest
FORGOTTEN_AT_ONCE = 20  # rows, whose replies may be of a megabyte each

PLACE: Types = {"tenant_id": ID, "user_id": ID, "key_digest": Text()}
TAKEN: Types = {**PLACE, "request_digest": Text(), "call_id": ID, "expires_at": UtcDateTime()}


class Keys:
    """The idempotency keys of one batch's admissions.

    They are taken before anything is decided, as if all were free and all calls were granted: that locks them, so of
    two processes the second one waits and then sees what the first did. What was taken for nothing is given back.
    """

    def __init__(self) -> None:
        self._asked: dict[KeyPlace, datetime] = {}
        self._first: dict[KeyPlace, Admission] = {}
        self._granted: dict[KeyPlace, Taken] = {}
        self._found: dict[KeyPlace, Taken] | None = None
        self._answer: Answer = tuple

    def ask(self, admission: Admission, now: datetime) -> None:
        """An admission with a key asks, at about this instant."""
        place = _place_of(admission)
        self._first.setdefault(place, admission)
        self._asked[place] = now + KEPT_FOR

    def take(self, connection: Connection) -> None:
        """Take the keys that are free, lock the others. What is there is read with what is asked next."""
        if not self._first:
            return
        rows = [
            _row(connection, place, _taken_by(self._first[place], self._asked[place])) for place in sorted(self._first)
        ]
        _TAKE.run(connection, rows)
        self._answer = _READ.ask(connection, [{name: row[name] for name in PLACE} for row in rows])

    def repeat(self, admission: Admission, now: datetime) -> Repeat | None:
        """What the admission repeats; None when its key is free. Calls of the same batch that were granted count."""
        assert admission.key is not None
        if self._found is None:
            self._found = {(row[0], row[1], row[2]): _taken(row[3:]) for row in self._answer()}
        place = _place_of(admission)
        return (self._granted.get(place) or self._found[place]).repeated_by(admission.key, now)

    def grant(self, admission: Admission) -> None:
        """The admission is granted, and has its key."""
        place = _place_of(admission)
        self._granted[place] = _taken_by(admission, self._asked[place])

    def write(self, connection: Connection) -> None:
        """Say who has the keys, where it is not who took them first."""
        given, free = list[Row](), list[Row]()
        for place, taken in (self._found or {}).items():
            granted = self._granted.get(place)
            if granted is None and taken.call_id == self._first[place].call_id:
                free.append(dict(zip(PLACE, place, strict=True)))
            elif granted is not None and taken.call_id != granted.call_id:
                given.append(_row(connection, place, granted))
        _GIVE.run(connection, given)
        _FREE.run(connection, free)


def find(connection: Connection, claims: Claims, key: IdempotencyKey) -> tuple[Taken, bytes | None] | None:
    """The user's key, and the sealed reply of its call if that is kept."""
    here = (idempotency_keys.c[name] == value for name, value in zip(PLACE, (*claims[:2], key.digest), strict=True))
    joined = idempotency_keys.outerjoin(calls, _CALL)
    row = connection.execute(select(*_fields(), idempotency_keys.c.reply).select_from(joined).where(*here)).first()
    return None if row is None else (_taken(row), row[-1])


def keep(database: Database, call: HeldCall, key: IdempotencyKey, reply: bytes) -> None:
    """Keep the sealed reply of a call, unless another call has the key by now; write the row again if it was lost.

    Raises:
        Unavailable: the database did not take it.
    """
    row: Row = dict(zip(PLACE, (*call.claims[:2], key.digest), strict=True))
    row |= {"request_digest": key.request_digest, "call_id": call.call_id, "expires_at": call.admitted_at + KEPT_FOR}
    with database.write() as connection:
        kept = insert_for(connection)(idempotency_keys).values(**row, reply=reply)
        mine = idempotency_keys.c.call_id == call.call_id
        connection.execute(kept.on_conflict_do_update(index_elements=_KEY, set_={"reply": reply}, where=mine))


def forget(database: Database) -> int:
    """Delete some of the keys that have expired. Returns how many; fewer than `FORGOTTEN_AT_ONCE` were all.

    Raises:
        Unavailable: the database cannot answer.
    """
    with database.read() as connection:
        over = idempotency_keys.c.expires_at <= database.now(connection)
        found = [tuple(row) for row in connection.execute(select(*_KEY).where(over).limit(FORGOTTEN_AT_ONCE))]
    if found:
        key = tuple_(*_KEY)
        free = select(*_KEY).where(key.in_(found), over).with_for_update(skip_locked=True)
        with database.write() as connection:
            connection.execute(delete(idempotency_keys).where(key.in_(free)))
    return len(found)


def _place_of(admission: Admission) -> KeyPlace:
    assert admission.key is not None
    return admission.claims.tenant_id, admission.claims.user_id, admission.key.digest


def _taken_by(admission: Admission, expires_at: datetime) -> Taken:
    """The key as the call has it while it runs."""
    assert admission.key is not None
    return Taken(admission.key.request_digest, admission.call_id, expires_at, kept=False, running=True, completed=False)


def _taken(fields: Sequence[Any]) -> Taken:
    request_digest, call_id, expires_at, kept, state, ended = fields[:6]
    completed = state == CallState.SETTLED and ended == COMPLETED
    return Taken(request_digest, call_id, read_stamp(expires_at), bool(kept), state == CallState.HELD, completed)


def _row(connection: Connection, place: KeyPlace, taken: Taken) -> Row:
    row: Row = dict(zip(PLACE, place, strict=True))
    row |= {"request_digest": taken.request_digest, "call_id": taken.call_id}
    return row | {"expires_at": stamp(connection, taken.expires_at)}


def _fields() -> list[ColumnElement[Any]]:
    columns = idempotency_keys.c
    named = (columns.request_digest, cast(columns.call_id, Text), columns.expires_at, columns.reply.is_not(None))
    return [*named, calls.c.state, calls.c.ended]


def _take(kind: Kind, given: FromClause) -> list[Executable]:
    names = list(TAKEN)
    taken = kind.insert(idempotency_keys).from_select(
        names, select(*(given.c[name] for name in names)).where(text("true"))
    )
    if kind.is_sqlite:  # where one transaction writes at a time, and a row is written with its reply
        return [taken.on_conflict_do_nothing()]
    same = {"expires_at": idempotency_keys.c.expires_at}  # only to lock it
    return [taken.on_conflict_do_update(index_elements=_KEY, set_=same)]


def _read(_kind: Kind, given: FromClause) -> list[Executable]:
    place = (cast(given.c.tenant_id, Text), cast(given.c.user_id, Text), given.c.key_digest)
    joined = given.join(idempotency_keys, and_(*_here(given))).outerjoin(calls, _CALL)
    return [select(*place, *_fields()).select_from(joined)]


def _give(_kind: Kind, given: FromClause) -> list[Executable]:
    values: Row = {name: given.c[name] for name in TAKEN if name not in PLACE}
    return [update(idempotency_keys).where(*_here(given)).values({**values, "reply": null()})]


def _free(_kind: Kind, given: FromClause) -> list[Executable]:
    return [delete(idempotency_keys).where(*_here(given))]


def _here(given: FromClause) -> list[ColumnElement[bool]]:
    return [idempotency_keys.c[name] == given.c[name] for name in PLACE]


_KEY = list(idempotency_keys.primary_key)
_CALL = and_(calls.c.tenant_id == idempotency_keys.c.tenant_id, calls.c.id == idempotency_keys.c.call_id)
_TAKE = Statement(TAKEN, _take)
_READ = Statement(PLACE, _read, returns=True)
_GIVE = Statement(TAKEN, _give)
_FREE = Statement(PLACE, _free)
