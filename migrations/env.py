"""Alembic's environment. `storage/schema.py` passes a connection; the `alembic` command opens one from the settings."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection

from chatapi.settings import load_settings
from chatapi.storage.engine import Database
from chatapi.storage.tables import UtcDateTime, metadata


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
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, render_item=_render)
    with context.begin_transaction():
        context.run_migrations()


def _render(kind: str, item: object, _autogen: object) -> str | Literal[False]:
    """Write our own types as what they are underneath: a migration must not change when the code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


migrate()
