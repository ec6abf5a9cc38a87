"""One process of `bench.ledger_pairs`: greenlets that admit and settle one call after the other.

Usage: python -m bench._pairs DATABASE_URL GREENLETS SECONDS BATCH TENANT/USER/JTI
BATCH is how many items a transaction has at most; 0: as many as wait.
Says `ready`, waits for a line on its standard input, and prints one JSON object.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from contextlib import suppress  # noqa: E402

import gevent  # noqa: E402

import chatapi.storage.writer  # noqa: E402
from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement  # noqa: E402
from chatapi.domain.principals import Claims  # noqa: E402
from chatapi.domain.usage import Usage, UsageSource  # noqa: E402
from chatapi.errors import DatabaseUnavailable  # noqa: E402
from chatapi.storage import leases  # noqa: E402
from tests.concurrency.world import RENEW_S, World, ask, world_of  # noqa: E402

WARM_UP_S = 1.0
CHARGE = Charge(answered=True, usage=Usage(7, 0, 3, 0, UsageSource.UPSTREAM))


def main() -> None:
    """Run the greenlets, and print what they did."""
    url, greenlets, seconds, batch, who = sys.argv[1:]
    if int(batch):
        chatapi.storage.writer.LARGEST_BATCH = int(batch)
    claims = Claims(*who.split("/"))
    with world_of(url) as world:
        worker_id = world.worker()
        keeper = gevent.spawn(renew, world, worker_id)
        print("ready", flush=True)
        sys.stdin.readline()
        run(world, worker_id, claims, int(greenlets), WARM_UP_S)
        began, cpu_began = time.perf_counter(), time.process_time()
        tally = run(world, worker_id, claims, int(greenlets), float(seconds))
        took, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        keeper.kill()
        while world.writer.repay():
            time.sleep(0.05)
    found = {"pairs": tally.pop("pairs", 0), "seconds": took, "cpu_s": cpu_s, "warm_up_s": WARM_UP_S}
    print(json.dumps(found | {"others": dict(tally)}))


def run(world: World, worker_id: str, claims: Claims, greenlets: int, seconds: float) -> Counter[str]:
    """Admit and settle from all greenlets for so long."""
    tally, end_at = Counter[str](), time.perf_counter() + seconds
    gevent.joinall([gevent.spawn(pairs, world, worker_id, claims, end_at, tally) for _ in range(greenlets)])
    return tally


def pairs(world: World, worker_id: str, claims: Claims, end_at: float, tally: Counter[str]) -> None:
    """Admit and settle, one call after the other."""
    while time.perf_counter() < end_at:
        try:
            decision = world.writer.submit(ask(claims, worker_id))
        except DatabaseUnavailable as error:
            tally[type(error).__name__] += 1
            continue
        if not isinstance(decision, Grant):
            tally[f"not granted: {decision}"] += 1
            continue
        settled = Settlement(decision.call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED)
        tally["pairs" if world.writer.submit(settled) else "owed"] += 1


def renew(world: World, worker_id: str) -> None:
    """Keep the lease."""
    while True:
        time.sleep(RENEW_S)
        with suppress(DatabaseUnavailable):
            leases.renew(world.database, worker_id)


if __name__ == "__main__":
    main()
