"""Reports from the roll-ups: their cost grows with users and days, not with calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import BigInteger, and_, cast, func, select

from chatapi.storage.engine import Database
from chatapi.storage.tables import tenants, usage_days, users

ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which usage: of one tenant, of one user (by name), from one local day to another (YYYY-MM-DD, both included)."""

    tenant: str | None = None
    user: str | None = None
    first_day: str | None = None
    last_day: str | None = None


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one user was charged for one model on one local day of its tenant.

    `cost` is in nano-dollars, without that of the calls that are `unpriced`: nobody knows it.
    """

    tenant: str
    user: str
    model: str
    day: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int
    unpriced: int

    @property
    def total_tokens(self) -> int:
        """All tokens that were charged."""
        return self.prompt_tokens + self.completion_tokens


def usage(database: Database, wanted: UsageFilter) -> Iterator[UsageRow]:
    """Usage in the order of tenant, day, user and model, read as it is asked for and never held in memory whole.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    names = ("requests", "prompt_tokens", "completion_tokens", "cost", "unpriced")
    figures = [cast(func.sum(usage_days.c[name]), BigInteger) for name in names]
    key = (tenants.c.name, usage_days.c.day, users.c.username, usage_days.c.model)
    statement = (
        select(tenants.c.name, users.c.username, usage_days.c.model, usage_days.c.day, *figures)
        .join(tenants, tenants.c.id == usage_days.c.tenant_id)
        .join(users, and_(users.c.tenant_id == usage_days.c.tenant_id, users.c.id == usage_days.c.user_id))
        .group_by(*key)
        .order_by(*key)
    )
    bounds = {
        tenants.c.name.__eq__: wanted.tenant,
        users.c.username.__eq__: wanted.user,
        usage_days.c.day.__ge__: wanted.first_day,
        usage_days.c.day.__le__: wanted.last_day,
    }
    for compare, value in bounds.items():
        if value is not None:
            statement = statement.where(compare(value))
    with database.snapshot() as connection:
        for row in connection.execution_options(yield_per=ROWS_AT_ONCE).execute(statement):
            yield UsageRow(*row)
