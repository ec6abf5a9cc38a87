"""The schema's version: bringing a database up to date, and saying whether this version can serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, column, select, table

from chatapi.settings import PROJECT_ROOT
from chatapi.storage.engine import Database

if TYPE_CHECKING:  # importing it takes longer than most commands run, and half of the time in which a worker starts
    from alembic.config import Config

MIGRATION_LOCK = (
    7_215_001  # of PostgreSQL's advisory locks: two machines that start at once migrate one after the other
)
_VERSION = table("alembic_version", column("version_num"))


def upgrade(database: Database) -> tuple[str | None, str]:
    """Apply every migration that is missing, all in one transaction. Returns the revision before and after."""
    from alembic import command

    config, connection = _config(), database.engine.connect()
    with connection:
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.commit()
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        before = revision(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        after = revision(connection)
        connection.commit()
        connection.invalidate()  # its settings were changed for the migration
    return before, after or ""


def revision(connection: Connection) -> str | None:
    """The revision that the database is at, as Alembic has written it down; None when it is empty."""
    if not connection.dialect.has_table(connection, _VERSION.name):
        return None
    found: str | None = connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()
    return found


def head() -> str:
    """The revision that this version of the code was written for."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "migrations"))
    return config
