"""Retention: taking away calls that are older than an installation wants to keep, and making room ahead of new ones.

Counters and roll-ups stay, so limits and reports are not touched. Whoever runs it may be killed at any moment: each
step is a transaction of its own, and the next run finds what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import structlog

from chatapi.domain.retention import Keep, Month
from chatapi.errors import DatabaseUnavailable, Unavailable
from chatapi.logic.runtime import Runtime
from chatapi.storage import retention as storage
from chatapi.storage.retention import Old, Part

log = structlog.get_logger()
T = TypeVar("T")

MAKE_EVERY_S = 3600.0
LOCK_PATIENCE_S = 60.0  # an audit or a backup reads all calls, and they cannot be locked while it does
LOCK_PAUSE_S = 1.0  # longer than a lock is waited for by far: admissions go through in between
LEAST_PAUSE_S = 0.01


class PartitionMaker:
    """Makes partitions ahead of time: in a worker's rounds, the first time at its start."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._next_at = time.monotonic()

    def tick(self) -> None:
        """Do it if an hour has passed; when the database was busy, again in the next round."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + MAKE_EVERY_S
        try:
            made = storage.make_partitions(self._runtime.database)
        except DatabaseUnavailable:
            self._next_at = time.monotonic()
            log.warning("partitions_not_made")
            return
        if made:
            log.info("partitions_made", months=[str(month) for month in made])


def find_old(runtime: Runtime, keep: Keep) -> Old:
    """What is older than it is to be kept, by the database's clock. Changes nothing.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        first_day = keep.first_day(runtime.database.now(connection))
    return storage.find_old(runtime.database, first_day)


def make_partitions(runtime: Runtime) -> list[Month]:
    """Make the partitions that are missing. Returns the months that were made.

    Raises:
        Unavailable: the database cannot answer, or others used the calls all the time.
    """
    return _patiently(lambda: storage.make_partitions(runtime.database))


def drop_months(runtime: Runtime, old: Old) -> Iterator[tuple[Month, int]]:
    """Drop the months that are old as a whole, one for each item that is taken: the month and how many calls it had.

    Raises:
        Unavailable: the database cannot answer, or others used the calls all the time. Run it again.
    """
    for month in sorted(old.months):
        dropped = _patiently(lambda month=month: storage.drop_month(runtime.database, month, old))  # type: ignore[misc]
        if dropped is not None:
            yield month, dropped


def delete_in_batches(runtime: Runtime, old: Old) -> Iterator[int]:
    """Delete old calls one by one, a short transaction for each item that is taken: how many were deleted.

    Between two transactions it pauses for as long as the last one took, so that it never has more than half of a
    database that takes one writer at a time.

    Raises:
        Unavailable: the database cannot answer. Run it again.
    """
    for part in storage.parts(runtime.database, old):
        yield from _delete_part(runtime, part, old.first_day)


def _delete_part(runtime: Runtime, part: Part, first_day: str) -> Iterator[int]:
    last: str | None = None
    while True:
        begun_at = time.monotonic()
        batch = _patiently(
            lambda after=last: storage.delete_batch(runtime.database, part, first_day, after)  # type: ignore[misc]
        )
        if batch.deleted:
            yield batch.deleted
            time.sleep(max(LEAST_PAUSE_S, time.monotonic() - begun_at))
        if batch.last is None:
            return
        last = batch.last


def _patiently(step: Callable[[], T]) -> T:
    """Try a step until the database takes it, for as long as a reader of all calls may take."""
    give_up_at = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return step()
        except DatabaseUnavailable:
            if time.monotonic() >= give_up_at:
                raise Unavailable(
                    "The database did not take the next step for a minute: it cannot answer, or an audit or a backup"
                    " is reading all calls. What was done is done; run it again for the rest."
                ) from None
        time.sleep(LOCK_PAUSE_S)
