"""Guesses: what is likely is written as if it were known, and the transaction fails where it is not so.

What saves a round trip to PostgreSQL saves statements on SQLite. A batch that was guessed wrong is done again without.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, literal_column


class GuessedWrong(Exception):
    """Something is not as it was expected: the transaction is to be done again without guesses."""


def expected(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    """A value that PostgreSQL cannot compute unless the condition is true, because it would have to divide by zero. The
    exchange says so: `GuessedWrong`."""
    return literal_column("1") / case((condition, literal_column("1")), else_=literal_column("0"))
