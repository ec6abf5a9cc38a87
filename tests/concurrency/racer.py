"""Processes that race, of threads that call as fast as they can until they are denied. `test_race.py` starts them.

Usage: python -m tests.concurrency.racer DATABASE_URL PROCESSES THREADS HEAD_START_S WHO…
WHO is tenant/user/jti. The race begins HEAD_START_S seconds after all has been imported, once for all processes.
Each process prints one line, a JSON object: calls granted and settled, denials for good, denials though only holds were
in the way, and how often which failure of the database was met.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter as Tally
from contextlib import suppress

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.limits import Denial, DenialKind
from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import DatabaseUnavailable
from chatapi.logic.turns import Turns
from chatapi.storage import leases
from tests.concurrency.world import RENEW_S, World, ask, world_of

WAIT_S = 30.0


def run(world: World, turns: Turns, worker_id: str, claims: Claims, tally: Tally[str]) -> None:
    """Call, be answered and settle, until a denial says that the quota is used up."""
    while True:
        admission = ask(claims, worker_id)
        try:
            decision = turns.take(claims, lambda admission=admission: world.writer.submit(admission))  # type: ignore[misc]
        except DatabaseUnavailable as error:
            tally[f"unavailable: {type(error.__cause__).__name__} {str(error.__cause__)[:120]}"] += 1
            continue
        if isinstance(decision, Grant):
            usage = Usage(7, 0, 3, 0, UsageSource.UPSTREAM)
            charge = Charge(answered=True, usage=usage)
            world.writer.submit(
                Settlement(decision.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)
            )
            tally["granted"] += 1
            continue
        good = isinstance(decision, Denial) and decision.kind is DenialKind.USED_UP
        tally["denied" if good else "falsely_denied"] += 1
        return


def renew(world: World, worker_id: str) -> None:
    """Keep the lease, as a worker's keeper does."""
    while True:
        time.sleep(RENEW_S)
        with suppress(DatabaseUnavailable):
            leases.renew(world.database, worker_id)


def main() -> None:
    """Run the processes, which share nothing but what was imported."""
    url, processes, threads, head_start_s, *who = sys.argv[1:]
    people = [Claims(*person.split("/")) for person in who]
    start_at = time.time() + float(head_start_s)
    children = []
    for _ in range(int(processes)):
        if (child := os.fork()) == 0:
            play(url, int(threads), start_at, people)
            return
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(0 if codes == [0] * len(children) else f"ended with {codes}")


def play(url: str, threads: int, start_at: float, people: list[Claims]) -> None:
    """Run the threads, and print what happened."""
    tallies = [Tally[str]() for _ in range(threads)]
    with world_of(url) as world:
        turns, worker_id = Turns(WAIT_S, 100), world.worker()
        racers = [
            threading.Thread(target=run, args=(world, turns, worker_id, people[number % len(people)], tally))
            for number, tally in enumerate(tallies)
        ]
        threading.Thread(target=renew, args=(world, worker_id), daemon=True).start()
        time.sleep(max(0.0, start_at - time.time()))
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        while world.writer.repay():
            time.sleep(0.05)
    os.write(sys.stdout.fileno(), json.dumps(sum(tallies, Tally())).encode() + b"\n")


if __name__ == "__main__":
    main()
