"""Alerts as they are kept: raised once for each occasion, claimed by whoever sends them, and what became of each.

A claim is a short transaction that moves the next try ahead, so no lock is held while an alert is being sent: whoever
dies with it leaves an alert that is due again after `CLAIM`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Subquery, and_, delete, func, select, update
from uuid_utils import uuid7

from chatapi.storage.admin_tables import alerts, webhooks
from chatapi.storage.bulk import batches
from chatapi.storage.columns import Row
from chatapi.storage.engine import Database
from chatapi.storage.given import insert_for
from chatapi.storage.tables import tenants, workers
from chatapi.storage.webhooks import ACTIVE

PENDING, DELIVERED, GIVEN_UP = "pending", "delivered", "given_up"
CLAIM = timedelta(seconds=60)  # several times what a try may take
AT_ONCE_OF_ONE = 2  # of one webhook in one claim, so that one which hangs does not keep the others waiting
FORGET_AFTER = timedelta(days=92)  # ended alerts, long after their windows
FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, and what became of it."""

    tenant_id: str
    id: str
    webhook_id: str
    occasion: str
    body: str
    state: str
    tries: int
    raised_at: datetime
    next_try_at: datetime
    ended_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An alert that is to be sent now, by us alone, and where to; not at all where its webhook is not told any more."""

    alert: Alert
    url: str
    sealed_secret: bytes
    is_wanted: bool


def new_id() -> str:
    """The id of an alert, time-ordered."""
    return str(uuid7())


def told(connection: Connection, tenant_id: str, webhook_id: str, occasions: Collection[str]) -> dict[str, str]:
    """The bodies of the alerts of these occasions that there are, by occasion."""
    found: dict[str, str] = {}
    for some in batches(occasions):
        statement = select(alerts.c.occasion, alerts.c.body).where(
            alerts.c.tenant_id == tenant_id, alerts.c.webhook_id == webhook_id, alerts.c.occasion.in_(some)
        )
        found.update((row.occasion, row.body) for row in connection.execute(statement))
    return found


def raise_all(connection: Connection, rows: Sequence[Row], now: datetime) -> int:
    """Keep alerts that are to be sent, but those whose occasions have one. Returns how many are new.

    Args:
        connection: of the caller's transaction.
        rows: `tenant_id`, `id`, `webhook_id`, `occasion` and `body` of each.
        now: the database's time.
    """
    raised = 0
    ordered = sorted(rows, key=lambda row: (row["tenant_id"], row["webhook_id"], row["occasion"]))  # for their locks
    for some in batches(ordered):
        statement = insert_for(connection)(alerts).values(
            [{**row, "state": PENDING, "raised_at": now, "next_try_at": now} for row in some]
        )
        key = ["tenant_id", "webhook_id", "occasion"]
        kept = statement.on_conflict_do_nothing(index_elements=key).returning(alerts.c.id)
        raised += len(connection.execute(kept).all())
    return raised


def due(database: Database, connection: Connection) -> bool:
    """Whether any alert is to be sent now: a look without a lock."""
    here = (alerts.c.state == PENDING, alerts.c.next_try_at <= database.now(connection))
    return connection.execute(select(alerts.c.id).where(*here).limit(1)).first() is not None


def claim(
    database: Database,
    connection: Connection,
    most: int,
    *,
    busy: Collection[str] = (),
    crowded: Collection[str] = (),
    alert_id: str | None = None,
) -> list[Claimed]:
    """Take alerts that are due, the most urgent ones, a few of each webhook: for the time of a claim they are ours.

    Args:
        database: for its clock.
        connection: of a transaction that is committed before anything is sent.
        most: how many at most.
        busy: ids of webhooks that are to be left alone, because they have not answered yet.
        crowded: ids of tenants that are to be left alone, because too many of theirs have not.
        alert_id: only this one.
    """
    now = database.now(connection)
    due = and_(alerts.c.state == PENDING, alerts.c.next_try_at <= now)
    here = and_(due, alerts.c.webhook_id.not_in(busy), alerts.c.tenant_id.not_in(crowded))
    if alert_id is not None:
        here = and_(here, alerts.c.id == alert_id)
    first, told = _first_of_each(here), and_(webhooks.c.status == ACTIVE, tenants.c.status != "closed")
    statement = (
        select(alerts, webhooks.c.url, webhooks.c.sealed_secret, told.label("told"))
        .join(first, and_(first.c.tenant_id == alerts.c.tenant_id, first.c.id == alerts.c.id))
        .join(webhooks, and_(webhooks.c.tenant_id == alerts.c.tenant_id, webhooks.c.id == alerts.c.webhook_id))
        .join(tenants, tenants.c.id == alerts.c.tenant_id)
        .where(here)
        .order_by(alerts.c.next_try_at, alerts.c.id)
        .limit(most)
        .with_for_update(of=alerts, skip_locked=True)
    )
    taken = [_claimed(row) for row in connection.execute(statement).mappings()]
    for each in taken:
        values = {"tries": each.alert.tries, "next_try_at": now + CLAIM}
        connection.execute(update(alerts).where(_here(each.alert)).values(values))
    return taken


def _first_of_each(here: ColumnElement[bool]) -> Subquery:
    """Of the alerts that are so, the most urgent ones of each webhook."""
    place = func.row_number().over(
        partition_by=(alerts.c.tenant_id, alerts.c.webhook_id), order_by=(alerts.c.next_try_at, alerts.c.id)
    )
    ranked = select(alerts.c.tenant_id, alerts.c.id, place.label("place")).where(here).subquery()
    return select(ranked.c.tenant_id, ranked.c.id).where(ranked.c.place <= AT_ONCE_OF_ONE).subquery()


def delivered(connection: Connection, alert: Alert, now: datetime) -> None:
    """The receiver has it: whatever else is known of it."""
    _end(connection, alert, DELIVERED, now, None)


def give_up(connection: Connection, alert: Alert, now: datetime, problem: str) -> None:
    """It is not sent any more."""
    _end(connection, alert, GIVEN_UP, now, problem)


def put_off(connection: Connection, alert: Alert, next_try_at: datetime, problem: str) -> None:
    """It was not taken, and is to be sent again. Nothing where another has claimed it meanwhile."""
    here = and_(_here(alert), alerts.c.state == PENDING, alerts.c.tries == alert.tries)
    connection.execute(update(alerts).where(here).values(next_try_at=next_try_at, problem=problem))


def give_up_all(connection: Connection, tenant_id: str, webhook_id: str, now: datetime, problem: str) -> None:
    """Send nothing more of a webhook that is not told any more."""
    here = (alerts.c.tenant_id == tenant_id, alerts.c.webhook_id == webhook_id, alerts.c.state == PENDING)
    connection.execute(update(alerts).where(*here).values(state=GIVEN_UP, ended_at=now, problem=problem))


def has_pending(connection: Connection, tenant_id: str, webhook_id: str, beginning: str) -> bool:
    """Whether a webhook has an alert that is still to be sent, of an occasion that begins so."""
    here = (alerts.c.tenant_id == tenant_id, alerts.c.webhook_id == webhook_id, alerts.c.state == PENDING)
    begins = alerts.c.occasion.startswith(beginning, autoescape=True)
    return connection.execute(select(alerts.c.id).where(*here, begins).limit(1)).first() is not None


def count_pending(connection: Connection, tenant_id: str, webhook_id: str) -> int:
    """How many alerts a webhook has not taken yet."""
    here = (alerts.c.tenant_id == tenant_id, alerts.c.webhook_id == webhook_id, alerts.c.state == PENDING)
    return connection.execute(select(func.count()).where(*here)).scalar_one()


def find(connection: Connection, tenant_id: str, alert_id: str) -> Alert | None:
    """One alert of a tenant."""
    row = (
        connection.execute(select(alerts).where(alerts.c.tenant_id == tenant_id, alerts.c.id == alert_id))
        .mappings()
        .one_or_none()
    )
    return None if row is None else _alert(row)


def page(
    connection: Connection,
    tenant_id: str,
    before: str | None,
    most: int,
    *,
    state: str | None = None,
    webhook_id: str | None = None,
) -> list[Alert]:
    """A tenant's alerts, newest first, those before an id."""
    statement = select(alerts).where(alerts.c.tenant_id == tenant_id)
    for column, value in ((alerts.c.state, state), (alerts.c.webhook_id, webhook_id)):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(alerts.c.id < before)
    return [_alert(row) for row in connection.execute(statement.order_by(alerts.c.id.desc()).limit(most)).mappings()]


def forget_old(connection: Connection, tenant_id: str, now: datetime) -> int:
    """Delete some of a tenant's alerts that ended long ago. Returns how many."""
    old = (
        select(alerts.c.id)
        .where(alerts.c.tenant_id == tenant_id, alerts.c.ended_at < now - FORGET_AFTER)
        .limit(FORGOTTEN_AT_ONCE)
    )
    here = (alerts.c.tenant_id == tenant_id, alerts.c.id.in_(old))
    return connection.execute(delete(alerts).where(*here)).rowcount


def living_workers(connection: Connection, now: datetime, lease_s: float) -> tuple[str, ...]:
    """The workers whose leases are alive, the oldest first."""
    alive = workers.c.renewed_at > now - timedelta(seconds=lease_s)
    return tuple(connection.execute(select(workers.c.id).where(alive).order_by(workers.c.id)).scalars())


def _end(connection: Connection, alert: Alert, state: str, now: datetime, problem: str | None) -> None:
    here = and_(_here(alert), alerts.c.state == PENDING)
    connection.execute(update(alerts).where(here).values(state=state, ended_at=now, problem=problem))


def _here(alert: Alert) -> Any:
    return and_(alerts.c.tenant_id == alert.tenant_id, alerts.c.id == alert.id)


def _claimed(row: RowMapping) -> Claimed:
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    url, sealed_secret, told = (values.pop(name) for name in ("url", "sealed_secret", "told"))
    return Claimed(Alert(**{**values, "tries": values["tries"] + 1}), url, sealed_secret, bool(told))


def _alert(row: RowMapping) -> Alert:
    return Alert(**{str(name): value for name, value in row.items()})
