"""Processes that call while limits change under them, and what must be true of all that they were told.

Usage: python -m tests.concurrency.changing DATABASE_URL PROCESSES THREADS TENANT/USER/JTI…
Without processes each line of standard input is a number of calls to admit and leave in flight, answered by one line of
JSON, a list of `Told`. Else so many processes of so many threads call until standard input ends, and one line tells it
all. Where CHATAPI_TESTS_STALE is set, what holds for a principal is read once and never again: the mistake that the
tests are there to find.

All instants are of the machine's monotonic clock, which its processes share.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.limits import Denial
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import DatabaseUnavailable
from chatapi.storage import principals
from tests.concurrency.world import World, ask, world_of

PAUSE_S = 0.02  # after a denial


class Told(NamedTuple):
    """What one admission was told: by which limit, and what was used and held of it then, this call included."""

    asked_at: float
    told_at: float
    granted: bool
    limit: int
    counted: int


@dataclass
class Changes:
    """The values that a limit has had, and when each change of it began, and had committed."""

    values: list[int]
    began: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)

    def possible(self, told: Told) -> list[int]:
        """The values that were in force at some time between a question and its answer; while a change is being
        committed, the one before and the one after."""
        first = bisect_right(self.done, told.asked_at)
        last = bisect_right(self.began, told.told_at)
        return self.values[first : last + 1]


def breaches(changes: Changes, all_told: Sequence[Told]) -> list[str]:
    """What was told that cannot be, if each committed change holds for the next admission in every process.

    Every call counts as one request from its admission on, for ever, so the n-th admission of all is told that n are
    counted: the numbers of those that were granted are 1, 2, 3, … without a gap and none twice. With them it does not
    matter in which order processes say what they saw.
    """
    numbers = sorted(told.counted for told in all_told if told.granted)
    found = [] if numbers == list(range(1, len(numbers) + 1)) else ["the admissions are not numbered one by one"]
    for told in all_told:
        possible = changes.possible(told)
        if told.limit not in possible:
            found.append(f"{told} was decided by a limit that was not in force: {possible}")
        if told.granted and told.counted > max(possible):
            found.append(f"{told} is above every limit in force: {possible}")
        if not told.granted and told.counted < min(possible):
            found.append(f"{told} was denied though there was room under every limit in force: {possible}")
    return found


def call(world: World, worker_id: str, claims: Claims, *, settles: bool) -> Told:
    """One call: it asks to be admitted, and is answered if it is."""
    asked_at = time.monotonic()
    decision = world.writer.submit(ask(claims, worker_id))
    told_at = time.monotonic()
    if isinstance(decision, Denial):
        standing = decision.standing
        return Told(asked_at, told_at, False, standing.limit.value, standing.used + standing.held)
    assert isinstance(decision, Grant), decision
    (standing,) = decision.standings
    if settles:
        charge = Charge(answered=True, usage=Usage(7, 0, 3, 0, UsageSource.UPSTREAM))
        world.writer.submit(Settlement(decision.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    return Told(asked_at, told_at, True, standing.limit.value, standing.used + standing.held)


def race(world: World, people: list[Claims], threads: int, ended: threading.Event) -> list[Told]:
    """Call as fast as one can, in so many threads, until it ends."""
    worker_id, told = world.worker(), list[Told]()

    def run(claims: Claims) -> None:
        while not ended.is_set():
            with suppress(DatabaseUnavailable):  # a busy machine's database: nothing was admitted
                told.append(call(world, worker_id, claims, settles=True))
                if told[-1].granted:
                    continue
            time.sleep(PAUSE_S)

    running = [threading.Thread(target=run, args=(people[number % len(people)],)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return told


def read_once() -> None:
    """Make the mistake: what holds for a principal is remembered."""
    known: dict[Any, Any] = {}
    right = principals.facts

    def facts(connection: Any, book: Any, askers: Any, *more: Any) -> Any:
        found = right(connection, book, askers, *more)
        return {asker: known.setdefault(asker, fact) for asker, fact in found.items()}

    principals.facts = facts  # type: ignore[assignment]


def main() -> None:
    """Do as one is told."""
    url, processes, threads, *who = sys.argv[1:]
    people = [Claims(*person.split("/")) for person in who]
    if os.environ.get("CHATAPI_TESTS_STALE"):
        read_once()
    if int(processes):
        say(
            [told for child in [fork(url, int(threads), people) for _ in range(int(processes))] for told in wait(child)]
        )
        return
    with world_of(url) as world:
        worker_id = world.worker()
        say("ready")
        for line in sys.stdin:
            say([call(world, worker_id, people[0], settles=False) for _ in range(int(line))])


def fork(url: str, threads: int, people: list[Claims]) -> tuple[int, int]:
    """A process that calls; its id, and where it says what it was told. Only what was imported is shared."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    ended = threading.Event()

    def await_end() -> None:
        os.read(0, 1)
        ended.set()

    threading.Thread(target=await_end, daemon=True).start()
    with world_of(url) as world, os.fdopen(writing, "w") as pipe:
        json.dump(race(world, people, threads, ended), pipe)
    os._exit(0)


def wait(child: tuple[int, int]) -> list[Any]:
    """What a process said when it had ended."""
    with os.fdopen(child[1]) as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1]) == 0
    told: list[Any] = json.loads(said)
    return told


def say(what: object) -> None:
    """One line."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
