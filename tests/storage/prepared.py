"""The plans of what a PostgreSQL connection has prepared."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, text

VALUES = {
    "uuid": str(uuid.UUID(int=0)),
    "boolean": "true",
    "timestamp with time zone": "now",
    "interval": "1 second",
    **dict.fromkeys(("integer", "bigint"), "0"),
}


def plans(connection: Connection) -> dict[str, str]:
    """How each of the ledger's statements is run here, by its text."""
    found = text(
        "SELECT statement, name, parameter_types::text[] FROM pg_prepared_statements WHERE name LIKE 'chatapi%'"
    )
    return {
        statement: "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}({_values_of(types)})").scalars())
        for statement, name, types in connection.execute(found)
    }


def _values_of(types: list[str]) -> str:
    """Something of each of these types: the plan is the same for whatever is given."""
    texts = "[]" if len(types) == 1 else ""  # a text alone is JSON
    return ", ".join(f"'{VALUES.get(type_, texts)}'" for type_ in types)
