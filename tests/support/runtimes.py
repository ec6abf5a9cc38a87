"""The parts of one process, for tests of logic: a real database, and hashes that cost next to nothing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from chatapi.domain.password_hashes import HashCost
from chatapi.logic.passwords import Hasher
from chatapi.logic.runtime import Runtime
from chatapi.parts import build_runtime
from chatapi.settings import load_settings
from chatapi.storage.accounts import Transaction
from chatapi.storage.engine import Clock

CHEAP = HashCost(memory_kib=16, passes=1, lanes=1)
SECRET = "the secret of the tests, which is longer than thirty-two bytes"
ENCRYPTION_KEY = "A" * 43 + "="  # 32 bytes, all of them 0

T = TypeVar("T")


class HandClock:
    """The database's clock, set by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self, _: Transaction) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def make_runtime(
    database_url: str, *, clock: Clock | None = None, hashes_at_once: int = 4, **settings: object
) -> Runtime:
    """A runtime on a migrated database."""
    secrets = {"jwt_secret_key": SECRET, "encryption_keys": ENCRYPTION_KEY, "openai_api_key": "unused"}
    given = {"database_url": database_url, **secrets, **settings}
    runtime = build_runtime(load_settings(**given), clock=clock)
    return dataclasses.replace(runtime, hasher=Hasher(hashes_at_once, cost=CHEAP))


def at_once(count: int, do: Callable[[int], T]) -> list[T | Exception]:
    """Do the same thing in several threads that start together; what each returned or raised."""
    start = threading.Barrier(count)
    results: list[T | Exception] = [RuntimeError("it never ended")] * count

    def run(number: int) -> None:
        start.wait()
        try:
            results[number] = do(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
