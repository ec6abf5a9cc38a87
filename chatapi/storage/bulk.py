"""Many rows in one transaction, in steps that are short.

PostgreSQL ends a transaction that stands idle for 2 s, and a hundred thousand rows take longer than that to prepare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable

from chatapi.storage.columns import Row

T = TypeVar("T")
ROWS_AT_ONCE = 1000


def batches(items: Iterable[T], most: int = ROWS_AT_ONCE) -> Iterator[list[T]]:
    """The items in lists that are short enough for one statement."""
    left = iter(items)
    while some := list(islice(left, most)):
        yield some


def execute_many(connection: Connection, statement: Executable, rows: Sequence[Row]) -> None:
    """Execute the statement once for each row of parameters."""
    for some in batches(rows):
        connection.execute(statement, some)


def count_returned(connection: Connection, statement: Executable, rows: Sequence[Row]) -> int:
    """Execute a statement with RETURNING for each row of parameters. Returns how many rows it gave back."""
    results: Iterator[Any] = (connection.execute(statement, some) for some in batches(rows))
    return sum(len(result.all()) for result in results)
