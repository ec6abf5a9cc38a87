"""The database's schema: bringing it up to date, and whether this version can serve it."""

from __future__ import annotations

from chatapi.errors import ConfigurationError, DatabaseUnavailable
from chatapi.logic.runtime import Runtime
from chatapi.storage import schema

SERVED = frozenset(
    {"0003"}
)  # revisions that this version can serve; a newer one may be listed here ahead of its release


def upgrade(runtime: Runtime) -> tuple[str | None, str]:
    """Bring the database up to date. Returns its revision before and after."""
    return schema.upgrade(runtime.database)


def problem(runtime: Runtime) -> str | None:
    """Why calls cannot be served now, in one sentence; None when they can."""
    try:
        with runtime.database.read() as connection:
            revision = schema.revision(connection)
    except DatabaseUnavailable as error:
        return str(error)
    if revision in SERVED:
        return None
    if revision is None:
        return "The database is empty. Run: chatapi db upgrade"
    return f"The database is at revision {revision}, which this version cannot serve. Run: chatapi db upgrade"


def require_served(runtime: Runtime) -> None:
    """Refuse to start on a database that cannot be served.

    Raises:
        ConfigurationError: saying what to do.
    """
    found = problem(runtime)
    if found is not None:
        raise ConfigurationError(found)
