"""Alembic's environment. `storage/schema.py` passes a connection; the `alembic` command opens one from the settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from alembic import context
from sqlalchemy import Connection, ForeignKeyConstraint

from chatapi.settings import load_settings
from chatapi.storage import partitions
from chatapi.storage.admin_tables import metadata
from chatapi.storage.columns import UtcDateTime
from chatapi.storage.engine import Database


def migrate() -> None:
    """Run the migrations on the connection that was passed, or on the installation's database."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run(connection)
        return
    database = Database(load_settings())
    with database.engine.begin() as own:
        _run(own)
    database.close()


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        render_item=_render,
        include_object=partitions.compared(connection),
    )
    with context.begin_transaction():
        context.run_migrations()
        partitions.make_ahead(connection, datetime.now(UTC))


def _render(kind: str, item: object, _autogen: object) -> str | Literal[False]:
    """Write our own types as what they are underneath: a migration must not change when the code does."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "foreign_key" and isinstance(item, ForeignKeyConstraint) and item.name == "fk_attempts_calls":
        here, there = item.column_keys, [element.target_fullname for element in item.elements]
        return f'sa.ForeignKeyConstraint({here}, {there}, name=op.f("{item.name}")).ddl_if(dialect="sqlite")'
    return False


migrate()
