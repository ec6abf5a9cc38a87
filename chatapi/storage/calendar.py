"""What time it is: the database's clock, and the same instant in the time zones of tenants; read, or guessed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, FromClause, Text, cast, select

from chatapi.domain.windows import Moment, Zone
from chatapi.storage.columns import ID
from chatapi.storage.engine import Database
from chatapi.storage.given import Kind, Statement, read_stamp
from chatapi.storage.tables import tenants

MOST_ZONES = 4096  # of tenants, that are remembered
CLOCK_KEPT_S = 15.0  # for how long a clock that was read is presumed to go right
BEHIND = timedelta(milliseconds=10)  # as far as two clocks drift apart in that time, one of them being set right
Reading = tuple[datetime, dict[str, Moment]]  # the instant of a transaction, and what it is at which tenant
Clocked = Sequence[Sequence[Any]]  # rows of what `clock_of_tenants` selects


class Calendar:
    """Says what time it is at tenants, by the database's clock, and guesses it from the time zones that it has read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._zones: dict[str, Zone] = {}
        self._ahead = timedelta()  # of this machine's clock, where the database's is
        self._read_at = -CLOCK_KEPT_S  # by the monotonic clock

    def ask(self, connection: Connection, tenant_ids: Iterable[str]) -> Reading:
        """The database's clock, and the same instant in the time zone of each of these tenants that exists."""
        rows = _MOMENTS.run(connection, [{"tenant_id": tenant_id} for tenant_id in sorted(set(tenant_ids))])
        return self.read(connection, rows)

    def read(self, connection: Connection, rows: Clocked) -> Reading:
        """What a clock says, of at least one row."""
        now = self._database.instant(connection, read_stamp(rows[0][0]))
        self._ahead, self._read_at = now - datetime.now(UTC), time.monotonic()
        zones = {row[1]: Zone(row[2], row[3], row[4] and read_stamp(row[4])) for row in rows if row[1] is not None}
        if len(self._zones) > MOST_ZONES:
            self._zones.clear()
        self._zones.update(zones)
        return now, {tenant_id: Moment.at(now, zone.at(now)) for tenant_id, zone in zones.items()}

    def guess(self, connection: Connection, tenant_ids: Iterable[str]) -> dict[str, Moment] | None:
        """The same by this machine's clock, set by the database's, and the zones as they were; None for want of one."""
        now = self._database.instant(connection, datetime.now(UTC) + self._ahead)
        try:
            zones = {tenant_id: self._zones[tenant_id] for tenant_id in tenant_ids}
        except KeyError:
            return None
        return {tenant_id: Moment.at(now, zone.at(now)) for tenant_id, zone in zones.items()}

    def presume(self, connection: Connection, tenant_id: str) -> tuple[Moment, Zone] | None:
        """The same of one tenant, and by which zone; rather too early than too late. None as well where the database's
        clock has not been read lately."""
        zone = self._zones.get(tenant_id)
        if zone is None or time.monotonic() >= self._read_at + CLOCK_KEPT_S:
            return None
        now = self._database.instant(connection, datetime.now(UTC) + self._ahead - BEHIND)
        return Moment.at(now, zone.at(now)), zone


def _moments(kind: Kind, given: FromClause) -> list[Executable]:
    return [select(*clock_of_tenants(kind)).select_from(given.outerjoin(tenants, tenants.c.id == given.c.tenant_id))]


def clock_of_tenants(kind: Kind) -> list[ColumnElement[Any]]:
    """What a calendar reads, where there are tenants."""
    zone = (tenants.c.timezone, tenants.c.next_timezone, tenants.c.next_timezone_from)
    return [kind.clock(), cast(tenants.c.id, Text), *zone]


_MOMENTS = Statement({"tenant_id": ID}, _moments, returns=True)
