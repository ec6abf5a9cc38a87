"""Prices that operators set at run time, for the whole installation. Each function runs inside its caller's
transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select

from chatapi.storage.admin_tables import price_overrides
from chatapi.storage.given import insert_for

prices = price_overrides.c


@dataclass(frozen=True, slots=True, order=True)
class KeptOverride:
    """A price from an instant on. `price` is JSON; None: from then on no override holds."""

    model: str
    begins_at: datetime
    price: str | None
    made_at: datetime


def find(connection: Connection, model: str | None = None) -> list[KeptOverride]:
    """All of them, or those of one model, by model and instant. There are as many as operators have made."""
    statement = select(price_overrides).order_by(prices.model, prices.begins_at)
    if model is not None:
        statement = statement.where(prices.model == model)
    return [KeptOverride(**row) for row in connection.execute(statement).mappings()]


def count(connection: Connection) -> int:
    """How many there are."""
    return int(connection.execute(select(func.count()).select_from(price_overrides)).scalar_one())


def add(connection: Connection, override: KeptOverride) -> bool:
    """Keep one; False where the model has one from the same instant on."""
    row = {
        "model": override.model,
        "begins_at": override.begins_at,
        "price": override.price,
        "made_at": override.made_at,
    }
    statement = insert_for(connection)(price_overrides).values(row).on_conflict_do_nothing().returning(prices.model)
    return connection.execute(statement).first() is not None


def remove(connection: Connection, model: str, begins_at: datetime) -> None:
    """Forget one."""
    connection.execute(delete(price_overrides).where(prices.model == model, prices.begins_at == begins_at))
