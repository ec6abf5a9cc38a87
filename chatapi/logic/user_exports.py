"""Users as a file: what `user_imports` reads, without anybody's password."""

from __future__ import annotations

from collections.abc import Iterator

from chatapi.domain.effective_limits import LimitSetting, Unset
from chatapi.domain.limits import Metric
from chatapi.domain.user_csv import LIMIT_COLUMNS
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import page_of_tenants, tenant_of_id
from chatapi.storage import directory, limits
from chatapi.storage.accounts import User
from chatapi.storage.directory import UserFilter

COLUMNS = ("username", "tenant", "role", "status", *LIMIT_COLUMNS)
USERS_AT_ONCE = 500
TENANTS_AT_ONCE = 100

UserCells = tuple[str | int, ...]


def export_users(runtime: Runtime, tenant_id: str | None = None) -> Iterator[UserCells]:
    """The users of a tenant in the order in which they were made, or of all tenants by name: a row of COLUMNS for each.

    Rows are read as they are asked for, some at once, in transactions of their own: none lasts as long as the reading.

    Raises:
        NotFound: there is no such tenant; said when the first row is asked for.
    """
    if tenant_id is not None:
        yield from _of_tenant(runtime, tenant_of_id(runtime, tenant_id).id)
        return
    after: str | None = None
    while tenants := page_of_tenants(runtime, after=after, most=TENANTS_AT_ONCE):
        for tenant in tenants:
            yield from _of_tenant(runtime, tenant.id)
        after = tenants[-1].name


def _of_tenant(runtime: Runtime, tenant_id: str) -> Iterator[UserCells]:
    after: str | None = None
    while True:
        with runtime.database.read() as connection:
            users = directory.page_of_users(connection, tenant_id, UserFilter(), after, USERS_AT_ONCE)
            settings = limits.find_daily_limits(connection, tenant_id, [user.id for user in users]) if users else {}
        yield from (_cells(user, settings) for user in users)
        if len(users) < USERS_AT_ONCE:
            return
        after = users[-1].id


def _cells(user: User, settings: dict[tuple[str, Metric], LimitSetting]) -> UserCells:
    own = (settings.get((user.id, metric), Unset.INHERIT) for metric in LIMIT_COLUMNS.values())
    daily = ("" if setting is Unset.INHERIT else setting for setting in own)
    return (user.username, user.tenant_name, user.role.value, user.status.value, *daily)
