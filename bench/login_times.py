"""Whether the time of a refused login tells if its user exists: `python -m bench.login_times [--quick] [--rounds 60]`.

A gateway with one worker, and three kinds of refused logins in turn: of users that do not exist, of users whose hash
has this version's parameters, and of users with imported hashes that are much dearer (m=65536,t=3,p=4). The medians of
the three are compared. Exits with 1 when they differ by more than a twentieth.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.login_burst import gateway
from chatapi.domain.password_hashes import HashCost, random_hash
from chatapi.logic.passwords import COST
from tests.support.gateway import Gateway

GOAL = 1 / 20
DEAR = HashCost(memory_kib=65536, passes=3, lanes=4)
KINDS = {"unknown": None, "ours": COST, "imported": DEAR}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--database-url", help="an empty database; a new SQLite file by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database_url or f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        # Never throttled: a login that is refused for too many failures is another thing.
        settings = {"CHATAPI_LOGIN_PAIR_FAILURES": "1000000", "CHATAPI_LOGIN_ADDRESS_FAILURES": "1000000"}
        with gateway(url, settings) as server:
            add_users(server, Path(folder))
            medians = measure(server, arguments.rounds or (20 if arguments.quick else 60))
    least, most = min(medians.values()), max(medians.values())
    print(f"medians differ by {100 * (most / least - 1):.1f} % (goal: at most {100 * GOAL:.0f} %)")
    sys.exit(most > least * (1 + GOAL))


def add_users(server: Gateway, folder: Path) -> None:
    path = folder / "users.csv"
    rows = [(name, random_hash(cost)) for name, cost in KINDS.items() if cost]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("username", "password_hash"), *rows])
    server.cli("users", "import", str(path))


def measure(server: Gateway, rounds: int) -> dict[str, float]:
    """The median (ms) of each kind, asked for in turn, in another order each time."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(-2, rounds):  # the first rounds warm up
        for kind in random.sample(list(KINDS), len(KINDS)):
            began = time.perf_counter()
            assert server.exchange(kind, f"wrong {number}").status_code == 401
            if number >= 0:
                took[kind].append((time.perf_counter() - began) * 1000)
    for kind, found in took.items():
        quartiles = statistics.quantiles(found, n=4)
        print(f"{kind}: median {quartiles[1]:.0f} ms, quartiles {quartiles[0]:.0f} and {quartiles[2]:.0f} ms")
    return {kind: statistics.median(found) for kind, found in took.items()}


if __name__ == "__main__":
    main()
