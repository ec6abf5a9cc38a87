"""How much 20 logins at once delay everybody else: `python -m bench.login_burst [--quick]`.

A gateway with one worker, the demo upstream and real password hashes. One client asks `/api` and another `/healthz`,
one question after the other, first in peace and then while bursts of logins come; the medians are compared. Exits with
1 when the goal is missed.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from tests.support.gateway import Gateway

GOAL_MS = 50
LOGINS_AT_ONCE = 20
PEACE_S = 3.0
PASSWORD = "a password of the bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two bursts")
    parser.add_argument("--bursts", type=int)
    parser.add_argument("--database-url", help="an empty database; a new SQLite file by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database_url or f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        with gateway(url) as server:
            delays = measure(server, arguments.bursts or (2 if arguments.quick else 5), Path(folder))
    worst = max(delays.values())
    print(f"{LOGINS_AT_ONCE} logins at once delay others' median by {worst:.1f} ms (goal: under {GOAL_MS} ms)")
    sys.exit(worst >= GOAL_MS)


@contextmanager
def gateway(url: str, settings: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    environment = {"CHATAPI_WORKERS": "1", "CHATAPI_DAILY_REQUESTS": "unlimited", **(settings or {})}
    server = Gateway(url, upstream_url=None, environment=environment, arguments=("--demo",), start=False)
    server.cli("db", "upgrade")
    try:
        server.start()
        yield server
    finally:
        server.close()


def measure(server: Gateway, bursts: int, folder: Path) -> dict[str, float]:
    """Milliseconds by which the median of each probe grows."""
    # Others each time: who has just logged in needs no hash again.
    names = [[f"user{burst}-{number}" for number in range(LOGINS_AT_ONCE)] for burst in range(bursts)]
    add_users(server, [*chain.from_iterable(names), "prober"], folder)
    bearer = {"Authorization": f"Bearer {server.exchange('prober', PASSWORD).json()['message']['token']}"}

    def ask() -> None:
        server.http.get("/api", params={"q": "Hello?"}, headers=bearer).raise_for_status()

    def look() -> None:
        server.http.get("/healthz").raise_for_status()

    probes: dict[str, Callable[[], None]] = {"/api": ask, "/healthz": look}
    peace = probed(probes, lambda: time.sleep(PEACE_S))
    storm = probed(probes, lambda: log_in(server, names))
    for name in probes:
        for what, found in (("in peace", peace[name]), ("during logins", storm[name])):
            median, worst = statistics.median(found), max(found)
            print(f"{name} {what}: median {median:.1f} ms, worst {worst:.1f} ms, {len(found)} calls")
    return {name: statistics.median(storm[name]) - statistics.median(peace[name]) for name in probes}


def probed(probes: dict[str, Callable[[], None]], meanwhile: Callable[[], None]) -> dict[str, list[float]]:
    """How long each probe took (ms), again and again while `meanwhile` ran."""
    found: dict[str, list[float]] = {name: [] for name in probes}
    over = threading.Event()

    def run(name: str, probe: Callable[[], None]) -> None:
        while not over.is_set():
            began = time.perf_counter()
            probe()
            found[name].append((time.perf_counter() - began) * 1000)
            over.wait(0.01)

    threads = [threading.Thread(target=run, args=item) for item in probes.items()]
    for thread in threads:
        thread.start()
    try:
        meanwhile()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return found


def log_in(server: Gateway, names: list[list[str]]) -> None:
    """All users of a burst log in at the same moment, one burst after the other."""
    for burst in names:
        began = time.perf_counter()
        with ThreadPoolExecutor(len(burst)) as pool:
            codes = list(pool.map(lambda name: server.exchange(name, PASSWORD).status_code, burst))
        assert set(codes) == {201}, codes
        print(f"{len(burst)} logins at once took {time.perf_counter() - began:.2f} s")


def add_users(server: Gateway, names: list[str], folder: Path) -> None:
    path = folder / "users.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("username", "password"), *((name, PASSWORD) for name in names)])
    server.cli("users", "import", str(path))


if __name__ == "__main__":
    main()
