"""What the ledger says was sent to an upstream in a time, by days of UTC, from the calls and their attempts.

The roll-ups are by tenants' local days, so calls are read: those whose time-ordered ids may be of the time, one tenant
after the other, added up in the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, Text, and_, case, cast, func, literal, or_, select

from chatapi.domain.calls import AttemptState, CallState
from chatapi.domain.reconcile import Ours
from chatapi.domain.retention import first_id
from chatapi.domain.usage import UsageSource
from chatapi.storage import partitions
from chatapi.storage.admin_tables import upstream_keys
from chatapi.storage.engine import Database
from chatapi.storage.retention import calls_since
from chatapi.storage.tables import attempts, calls, tenants

BEFORE = timedelta(days=1)  # a call's last attempt may begin so long after its id was made, by clocks that differ
AFTER = timedelta(hours=1)
AT_RISK = (AttemptState.UNKNOWN.value, AttemptState.SENT.value)
CHARGED = (CallState.SETTLED.value, CallState.EXPIRED.value)
ESTIMATED = (UsageSource.COUNTED.value, UsageSource.HOLD.value)


class Span(NamedTuple):
    """Attempts that began in this time, at this upstream."""

    upstream: str
    begin: datetime
    end: datetime


class Sent(NamedTuple):
    """What was sent on a day of UTC: by the name that the upstream knows the model by, and by our own."""

    day: str
    sent_model: str
    model: str
    figures: Ours


def tenants_to_read(database: Database) -> list[tuple[str, str]]:
    """The ids and names of all tenants."""
    with database.read() as connection:
        rows = connection.execute(select(tenants.c.id, tenants.c.name).order_by(tenants.c.name))
        return [(str(row[0]), row[1]) for row in rows]


def with_own_key(database: Database, upstream: str) -> set[str]:
    """The ids of the tenants that pay this upstream themselves."""
    with database.read() as connection:
        found = select(upstream_keys.c.tenant_id).where(upstream_keys.c.upstream == upstream)
        return {str(tenant_id) for tenant_id in connection.execute(found).scalars()}


def kept_since(database: Database) -> str:
    """The first local day whose calls are all in the ledger; '' where none was deleted."""
    with database.read() as connection:
        return calls_since(connection)


def sent_by(database: Database, tenant_id: str, span: Span) -> list[Sent]:
    """What a tenant's calls sent to an upstream. Its cost is a pass over the calls of the time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with database.snapshot() as connection:
        partitions.hold(connection)
        rows = connection.execute(_sums(connection.dialect.name, tenant_id, span)).all()
    return [Sent(row[0], row[1], row[2], Ours(*row[3:])) for row in rows]


def _sums(dialect: str, tenant_id: str, span: Span) -> Select[Any]:
    started = attempts.c.started_at
    day: ColumnElement[str] = (
        func.substr(cast(started, Text), literal(1), literal(10))
        if dialect == "sqlite"
        else func.to_char(started, literal("YYYY-MM-DD"))
    )
    key = (day.label("day"), attempts.c.model.label("sent_model"), calls.c.model.label("model"))
    inner = (
        select(*key, *_figures(tenant_id, span))
        .select_from(calls.join(attempts, and_(attempts.c.call_id == calls.c.id, attempts.c.tenant_id == tenant_id)))
        .where(*_of_span(calls.c.tenant_id, calls.c.id, tenant_id, span))
        .where(*_of_span(attempts.c.tenant_id, attempts.c.call_id, tenant_id, span))
        .where(attempts.c.upstream == span.upstream, started >= span.begin, started < span.end)
        .subquery()
    )
    totals = [cast(func.sum(inner.c[name]), BigInteger) for name in Ours._fields]
    places = [inner.c[name] for name in ("day", "sent_model", "model")]
    return select(*places, *totals).group_by(*places).order_by(*places)


def _of_span(
    tenant: ColumnElement[str], call: ColumnElement[str], tenant_id: str, span: Span
) -> Iterator[ColumnElement[bool]]:
    yield tenant == tenant_id
    yield call >= str(first_id(span.begin - BEFORE))
    yield call < str(first_id(span.end + AFTER))


def _figures(tenant_id: str, span: Span) -> Sequence[ColumnElement[Any]]:
    """What one attempt adds. A call's charge belongs to the attempt that was answered; without one to the last of
    those that may have run."""
    answered = attempts.c.state == AttemptState.ANSWERED.value
    at_risk = and_(attempts.c.state.in_(AT_RISK), calls.c.state != CallState.HELD.value)
    others = attempts.alias("others")
    another = (
        select(literal(1))
        .where(*_of_span(others.c.tenant_id, others.c.call_id, tenant_id, span))
        .where(others.c.call_id == attempts.c.call_id)
        .where(
            or_(
                others.c.state == AttemptState.ANSWERED.value,
                and_(others.c.number > attempts.c.number, others.c.state.in_(AT_RISK)),
            )
        )
        .exists()
    )
    bears = case((answered, 1), (and_(at_risk, calls.c.state.in_(CHARGED)), case((another, 0), else_=1)), else_=0)

    def one(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return case((condition, 1), else_=0)

    return (
        one(answered).label("requests"),
        (bears * calls.c.prompt_tokens).label("prompt_tokens"),
        (bears * calls.c.cached_tokens).label("cached_tokens"),
        (bears * calls.c.completion_tokens).label("completion_tokens"),
        (bears * calls.c.cost).label("cost"),
        (bears * one(calls.c.unpriced)).label("unpriced"),
        (bears * one(calls.c.usage_source.in_(ESTIMATED))).label("estimated"),
        one(at_risk).label("at_risk"),
        one(and_(attempts.c.state == AttemptState.SENT.value, calls.c.state == CallState.HELD.value)).label(
            "in_flight"
        ),
    )
