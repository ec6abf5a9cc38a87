"""Reports from the roll-ups: their cost grows with users, access tokens and days, not with calls.

Rows are summed up by their ids first, and only what is left gets its names: so the largest part is one pass over the
roll-up, by its index where days are named.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Subquery,
    and_,
    cast,
    func,
    literal_column,
    null,
    select,
)

from chatapi.domain.usage_reports import Group, Period, UsageFigures, UsageFilter, UsageRow
from chatapi.storage import postgresql
from chatapi.storage.engine import Database
from chatapi.storage.off_hub import execute_off_hub
from chatapi.storage.tables import access_tokens, tenants, usage_days, usernames, users

__all__ = ["UsageFilter", "UsageRow", "reading", "usage", "usage_rows"]

ROWS_AT_ONCE = 1000
SPARE_S = 2.0  # the server's own limit comes first: its answer is the better one
IDS = {
    Group.TENANT: ("tenant_id",),
    Group.USER: ("tenant_id", "user_id"),
    Group.ACCESS_TOKEN: ("tenant_id", "user_id", "jti"),
    Group.MODEL: ("model",),
}
"""By what rows are summed up: an id's tenant with it, for names are found by both, and it makes no row more."""


def usage(database: Database, wanted: UsageFilter) -> Iterator[UsageRow]:
    """Usage in the order of tenant, day or month, user, access token and model, read as it is asked for and never held
    in memory whole. For a command, which may take its time.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with database.snapshot() as connection:
        yield from usage_rows(connection, wanted)


@contextmanager
def reading(database: Database, most_s: float) -> Iterator[Connection]:
    """A transaction for a report that is sent while it is read: its reader may pause, and it ends after `most_s`
    seconds at the latest, by the server's own clock too. All its statements see one snapshot.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with database.read() as connection:
        if database.is_sqlite:
            yield connection
            return
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for timeout in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {timeout} = {int(1000 * most_s)}")
        with postgresql.patient(connection.connection.driver_connection, most_s + SPARE_S):
            yield connection


def usage_rows(connection: Connection, wanted: UsageFilter) -> Generator[UsageRow, None, None]:
    """The same in a transaction that is open."""
    for row in execute_off_hub(connection, _statement(wanted), ROWS_AT_ONCE):
        yield UsageRow(UsageFigures._make(row[:7]), *row[7:])


def _statement(wanted: UsageFilter) -> Select[Any]:
    sums = _sums(wanted).subquery("sums")
    groups = set(wanted.group_by)
    source: FromClause = sums
    if Group.TENANT in groups:
        source = source.join(tenants, tenants.c.id == sums.c.tenant_id)
    if Group.USER in groups:
        source = source.join(users, and_(users.c.tenant_id == sums.c.tenant_id, users.c.id == sums.c.user_id))
    if Group.ACCESS_TOKEN in groups:
        its = and_(access_tokens.c.tenant_id == sums.c.tenant_id, access_tokens.c.jti == sums.c.jti)
        source = source.outerjoin(access_tokens, its)
    places = _places(sums, groups, wanted.by)
    order = [places[name] for name in ("tenant", "period", "user", "access_token_id", "model")]
    figures = [sums.c[name] for name in UsageFigures._fields]
    statement = select(*figures, *(place.label(f"place_{name}") for name, place in places.items()))
    return statement.select_from(source).order_by(*(place for place in order if place is not _NOTHING))


_NOTHING: ColumnElement[Any] = null()


def _places(sums: Subquery, groups: set[Group], by: Period) -> dict[str, ColumnElement[Any]]:
    """The columns of `UsageRow` after its figures, in their order."""

    def place(there: bool, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column if there else _NOTHING

    def of(name: str) -> ColumnElement[Any]:
        return sums.c.get(name, _NOTHING)

    return {
        "tenant_id": place(Group.TENANT in groups, of("tenant_id")),
        "tenant": place(Group.TENANT in groups, tenants.c.name),
        "user_id": place(Group.USER in groups, of("user_id")),
        "user": place(Group.USER in groups, users.c.username),
        "access_token_id": place(Group.ACCESS_TOKEN in groups, of("jti")),
        "access_token": place(Group.ACCESS_TOKEN in groups, access_tokens.c.name),
        "model": place(Group.MODEL in groups, of("model")),
        "period": place(by is not Period.ALL, of("period")),
    }


def _sums(wanted: UsageFilter) -> Select[Any]:
    """The figures by ids and time. PostgreSQL's sums of whole numbers are decimals unless they are cast."""
    names = dict.fromkeys(name for group in wanted.group_by for name in IDS[group])
    key: list[ColumnElement[Any]] = [usage_days.c[name] for name in names]
    if wanted.by is not Period.ALL:
        day = usage_days.c.day
        # Written out: PostgreSQL would take two equal parameters for two different expressions.
        month = func.substr(day, literal_column("1"), literal_column("7"))
        key.append((day if wanted.by is Period.DAY else month).label("period"))
    figures = [
        func.coalesce(cast(func.sum(usage_days.c[name]), BigInteger), 0).label(name) for name in UsageFigures._fields
    ]
    statement: Select[Any] = select(*key, *figures).where(*_conditions(wanted))
    return statement.group_by(*key) if key else statement


def _conditions(wanted: UsageFilter) -> Iterator[ColumnElement[bool]]:
    tenant_id, user_id = usage_days.c.tenant_id, usage_days.c.user_id
    if wanted.tenant is not None:
        yield tenant_id == select(tenants.c.id).where(tenants.c.name == wanted.tenant).scalar_subquery()
    if wanted.user is not None:
        named = usernames.c.username == wanted.user
        yield tenant_id == select(usernames.c.tenant_id).where(named).scalar_subquery()
        yield user_id == select(usernames.c.user_id).where(named).scalar_subquery()
    equal = {
        tenant_id: wanted.tenant_id,
        user_id: wanted.user_id,
        usage_days.c.jti: wanted.access_token_id,
        usage_days.c.model: wanted.model,
    }
    for column, value in equal.items():
        if value is not None:
            yield column == value
    if wanted.first_day is not None:
        yield usage_days.c.day >= wanted.first_day
    if wanted.last_day is not None:
        yield usage_days.c.day <= wanted.last_day
    named_tenant = (wanted.tenant, wanted.user, wanted.tenant_id)
    if named_tenant == (None, None, None) and (wanted.first_day or wanted.last_day):
        yield tenant_id.in_(select(tenants.c.id))  # so that the index by tenant and day is used
