"""Long statements on SQLite, which computes in the calling thread: off gevent's hub, where all others would wait."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Executable

T = TypeVar("T")


def execute_off_hub(connection: Connection, statement: Executable, rows_at_once: int) -> Iterator[Sequence[Any]]:
    """Execute a statement and give its rows as they are asked for, from a cursor that stays in the database.

    Sorting and summing up is done when the first row comes; under gevent another thread waits for that meanwhile. No
    other greenlet may use the connection.
    """
    patient = connection.execution_options(yield_per=rows_at_once)
    result: CursorResult[Any] = _computed(connection, lambda: patient.execute(statement))
    try:
        yield from result
    finally:
        result.close()


def _computed(connection: Connection, compute: Callable[[], T]) -> T:
    monkey = sys.modules.get("gevent.monkey")  # what was never imported has patched nothing
    if connection.dialect.name != "sqlite" or monkey is None or not monkey.is_module_patched("threading"):
        return compute()
    import gevent

    computed: T = gevent.get_hub().threadpool.apply(compute)
    return computed
