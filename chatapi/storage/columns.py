"""What tables are made of: their metadata, the types of columns, and the columns and constraints that many have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKeyConstraint,
    MetaData,
    Text,
    TypeDecorator,
    Uuid,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC: `timestamptz` on PostgreSQL, sortable text on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive datetimes: nobody knows what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give back an aware datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


ID = Text().with_variant(Uuid(as_uuid=False), "postgresql")


def tenant_column() -> Column[str]:
    """The first part of the key of all tenant data."""
    return Column("tenant_id", ID, primary_key=True)


def count(name: str) -> Column[int]:
    """A number that begins at 0."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def one_of(column: str, *values: str) -> CheckConstraint:
    """The column has one of these values. For an IN of more than two SQLite would make a table at every write."""
    return CheckConstraint(" OR ".join(f'"{column}" = {value!r}' for value in values), name=column)


def belongs_to(table: str, *columns: tuple[str, str]) -> ForeignKeyConstraint:
    """These columns here are those there."""
    return ForeignKeyConstraint([here for here, _ in columns], [f"{table}.{there}" for _, there in columns])


Row = dict[str, Any]
