"""A small installation for tests of the ledger alone: tenants and users in a migrated database, and a clock to move."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, update

from chatapi.domain.calls import Admission
from chatapi.domain.effective_limits import Defaults, LimitScope, Unset
from chatapi.domain.limits import Metric, Need
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.settings import Settings
from chatapi.storage import leases, tables
from chatapi.storage.audit import Finding, audit
from chatapi.storage.engine import Database
from chatapi.storage.ledger import Ledger, new_id
from chatapi.storage.limits import LimitChange
from chatapi.storage.seeding import keep_named
from chatapi.storage.writer import LedgerWriter

LEASE_S = 15.0
RENEW_S = 5.0
DEADLINE_S = 900.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Clock:
    """Stands in for the database's clock. It stands still until it is moved."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self, _connection: Connection) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    """One process's view of an installation."""

    database: Database
    ledger: Ledger
    writer: LedgerWriter
    clock: Clock | None = None
    tenants: dict[str, str] = field(default_factory=dict)  # name → id
    users: dict[str, Claims] = field(default_factory=dict)  # name → the claims of its access token

    def add_tenant(self, name: str, zone: str = "UTC") -> str:
        """Make a tenant; its id."""
        self.tenants[name] = new_id()
        row = {"id": self.tenants[name], "name": name, "timezone": zone, "status": "active", "created_at": LONG_AGO}
        with self.database.write() as connection:
            connection.execute(insert(tables.tenants), row)
        return self.tenants[name]

    def add_user(self, name: str, tenant: str) -> Claims:
        """Make a user with an access token that does not expire in any test; its claims."""
        claims = Claims(self.tenants[tenant], new_id(), new_id())
        whose = {"tenant_id": claims.tenant_id, "user_id": claims.user_id}
        user = {"tenant_id": claims.tenant_id, "id": claims.user_id, "username": name, "created_at": LONG_AGO}
        ends = datetime(2099, 1, 1, tzinfo=UTC)
        with self.database.write() as connection:
            connection.execute(insert(tables.users), user | {"password_hash": "", "role": "user", "status": "active"})
            connection.execute(insert(tables.usernames), whose | {"username": name})
            token = {"jti": claims.jti, "issued_at": LONG_AGO, "expires_at": ends}
            connection.execute(insert(tables.access_tokens), whose | token)
        self.users[name] = claims
        return claims

    def set_limit(
        self,
        scope: str,
        scope_id: str,
        metric: Metric,
        window: Window,
        value: int | None,
        *,
        tenant_id: str,
        changed_at: datetime = LONG_AGO,
        model: str = "",
    ) -> None:
        """Set a limit, or say with None that there is none."""
        setting = Unset.UNLIMITED if value is None else value
        change = LimitChange(tenant_id, LimitScope(scope), scope_id, metric, window, setting, model)
        place = {
            "tenant_id": tenant_id,
            "scope": scope,
            "scope_id": scope_id,
            "metric": metric.value,
            "window": window.value,
            "model": model,
        }
        with self.database.write() as connection:
            keep_named(connection, [change], self.database)
            connection.execute(delete(tables.limits).filter_by(**place))
            connection.execute(insert(tables.limits), place | {"value": value, "changed_at": changed_at})

    def change(self, table: str, identity: str, **values: object) -> None:
        """Set columns of the row with this id (of access tokens: this jti)."""
        target = tables.metadata.tables[table]
        key = target.c["jti" if table == "access_tokens" else "id"]
        with self.database.write() as connection:
            connection.execute(update(target).where(key == identity).values(**values))

    def worker(self) -> str:
        """A worker whose lease begins now; its id."""
        worker_id = str(uuid.uuid4())
        leases.renew(self.database, worker_id)
        return worker_id

    def audit(self) -> list[Finding]:
        """What `chatapi audit` finds."""
        return audit(self.ledger, RENEW_S)

    def close(self) -> None:
        """Close the connections."""
        self.database.close()


class LastingDatabase(Database):
    """A database on which one installation is made after the other, each with nobody in it.

    That takes a tenth of the time of a database and an engine of one's own.
    """

    def __init__(self, url: str) -> None:
        self._hands = Clock(LONG_AGO)
        super().__init__(settings_of(url), self._hands)

    def world(self, now: datetime, defaults: Defaults | None = None) -> World:
        """Forget everybody and everything; a new installation, at this time."""
        with self.write() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                if table is not tables.installation:
                    connection.execute(delete(table))
        self._hands.now = now
        ledger = Ledger(self, defaults or {}, LEASE_S)
        return World(self, ledger, LedgerWriter(self, ledger), self._hands)


@contextmanager
def world_of(url: str, *, clock: Clock | None = None, defaults: Defaults | None = None) -> Iterator[World]:
    """An installation without anybody in it, on a migrated database."""
    database = Database(settings_of(url), clock)
    ledger = Ledger(database, defaults or {}, LEASE_S)
    world = World(database, ledger, LedgerWriter(database, ledger), clock)
    try:
        yield world
    finally:
        world.close()


def settings_of(url: str) -> Settings:
    """Settings that name a database, and nothing from this machine's environment."""
    return Settings(database_url=url)


def ask(
    claims: Claims, worker_id: str, need: Need | None = None, *, call_id: str | None = None, model: str = "tiny"
) -> Admission:
    """A call that asks to be admitted; by default for 10 + 20 tokens."""
    return Admission(
        call_id=call_id or new_id(),
        claims=claims,
        worker_id=worker_id,
        endpoint="/v1/chat/completions",
        model=model,
        upstream="compatible",
        need=need or Need(10, 20, 16),
        deadline_s=DEADLINE_S,
    )
