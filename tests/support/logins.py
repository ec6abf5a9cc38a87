"""Logins as tests make them: right ones, wrong ones, and those that are being decided."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from chatapi.errors import InvalidCredentials
from chatapi.logic import tokens
from chatapi.logic.runtime import Runtime
from chatapi.storage.tables import login_failures

HERE, THERE = "198.51.100.1", "203.0.113.9"
NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def fail(runtime: Runtime, username: str = "demo", address: str = HERE, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            tokens.exchange(runtime, username, "wrong", address)


def exchange(runtime: Runtime, username: str = "demo", address: str = HERE) -> tokens.Exchange:
    return tokens.exchange(runtime, username, "secret", address)


def pending(runtime: Runtime) -> int:
    with runtime.database.read() as connection:
        return int(connection.execute(select(func.coalesce(func.sum(login_failures.c.pending), 0))).scalar_one())
