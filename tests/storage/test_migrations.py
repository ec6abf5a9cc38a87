"""The migrations and the tables say the same thing, on both databases."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from chatapi.logic.schema import SERVED
from chatapi.settings import load_settings
from chatapi.storage import partitions, schema
from chatapi.storage.admin_tables import metadata
from chatapi.storage.engine import Database


def test_a_migrated_database_has_exactly_the_tables_of_the_code(database_url: str) -> None:
    database = Database(load_settings(database_url=database_url))
    with database.engine.connect() as connection:
        opts = {"compare_server_default": False, "include_object": partitions.compared(connection)}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, metadata) == []
    database.close()


def test_migrating_a_migrated_database_changes_nothing(database_url: str) -> None:
    database = Database(load_settings(database_url=database_url))
    assert schema.upgrade(database) == (schema.head(), schema.head())
    database.close()


def test_this_version_serves_the_newest_revision() -> None:
    assert schema.head() in SERVED


def test_the_check_constraints_of_the_code_are_in_the_migrated_database(database_url: str) -> None:
    """Alembic does not compare check constraints, so this does."""
    database = Database(load_settings(database_url=database_url))
    names = {str(constraint.name) for table in metadata.tables.values() for constraint in table.constraints}
    wanted = {name for name in names if name.startswith("ck_")}
    with database.engine.connect() as connection:
        if database.is_sqlite:
            sources = connection.execute(text("SELECT sql FROM sqlite_master WHERE type = 'table'")).scalars()
            found = {name for source in sources for name in wanted if f"CONSTRAINT {name} CHECK" in source}
        else:
            found = set(connection.execute(text("SELECT conname FROM pg_constraint WHERE contype = 'c'")).scalars())
    assert wanted <= found
    database.close()
