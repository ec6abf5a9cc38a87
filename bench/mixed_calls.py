"""Reconcile mixed calls: what the upstream logged, what the clients got, and what the ledger charged, call by call.

`python -m bench.mixed_calls [--calls 10000] [--database sqlite|postgresql|both] [--quick]`

Plain calls, streams, tools, schemas and embeddings, with usage reported and not, refused, broken off, and aborted by
their clients at random points, through a gateway of its own before `bench.emulator`. Of each call the ledger must have
exactly what the upstream reported; where it did not, what a tokeniser counts of the relayed text; and nothing of calls
that were refused. Where a client left at a moment that only the gateway knows, the charge must lie between what the
client got and what the upstream sent. Then the sums must agree: of the calls, of `chatapi usage`, of the counters
(`chatapi audit`). Exits with 1 on any difference. A run is repeated by its `--seed`, but for the moments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench._mixed_client import Connection, Seen
from bench._mixed_judge import Verdict
from bench._mixed_plan import Planned, plan
from bench.emulator.process import Emulator
from tests.clients.ledger import rows_of
from tests.support.gateway import Gateway
from tests.support.postgres import DATABASES, Postgres, SQLiteTemplate

QUICK_CALLS = 324
WORKERS = "2"
SETTLING_S = 20.0
SHOWN_PROBLEMS = 10
LIMITED_EVERY = 25  # every so many calls one is made by a user with a small quota, and may be clamped or denied


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--minutes", type=float, default=15.0, help="of each database; calls that do not fit are a failure"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CALLS} calls")
    arguments = parser.parse_args()
    databases = DATABASES if arguments.database == "both" else [arguments.database]
    calls = QUICK_CALLS if arguments.quick else arguments.calls
    say(f"{calls} calls on {' and '.join(databases)}, seed {arguments.seed}")
    good = [reconcile(kind, plan(calls, arguments.seed), arguments.in_flight, arguments.minutes) for kind in databases]
    sys.exit(not all(good))


def reconcile(database: str, planned: list[Planned], in_flight: int, minutes: float) -> bool:
    """Make the calls on one kind of database, and judge them; whether all agree."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatapi-mixed-")))
        url = stack.enter_context(database_of(database, folder))
        emulator = stack.enter_context(Emulator(folder / "served.jsonl"))
        gateway = Gateway(url, upstream_url=emulator.url, environment={"CHATAPI_WORKERS": WORKERS}, start=False)
        stack.callback(gateway.close)
        gateway.start_with_users()
        tokens = [gateway.sign_in() for _ in range(6)]
        limited = gateway.users.take("tokens")
        began = time.monotonic()
        drive = Drive(gateway.base_url, tokens, gateway.token(limited))
        seen = asyncio.run(drive.run(planned, in_flight, minutes * 60))
        say(f"{database}: {len(seen)} calls in {time.monotonic() - began:.0f} s")
        problems = judge(gateway, emulator, seen, limited.tenant)
    if len(seen) < len(planned):
        problems.append(f"{len(planned) - len(seen)} calls were not made in {minutes} minutes")
    for problem in problems[:SHOWN_PROBLEMS]:
        say(f"  {problem}")
    say(f"{database}: {len(problems) or 'no'} difference{'' if len(problems) == 1 else 's'}")
    return not problems


class Drive:
    """The clients, each with one call at a time."""

    def __init__(self, url: str, tokens: list[str], limited: str) -> None:
        self._url = url
        self._tokens = tokens
        self._limited = limited
        self._seen: list[Seen] = []

    async def run(self, planned: list[Planned], in_flight: int, seconds: float) -> list[Seen]:
        """Make the calls, and say now and then how far it has come; what was seen of those that fit into the time."""
        left, total, give_up_at = iter(planned), len(planned), time.monotonic() + seconds

        async def keep_asking() -> None:
            connection = Connection(self._url)
            for one in left:
                if time.monotonic() > give_up_at:
                    break
                self._seen.append(await connection.call(one, self._token_of(one)))
                if len(self._seen) % max(1, total // 10) == 0:
                    say(f"  {len(self._seen)} of {total}")
            connection.close()

        await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
        return self._seen

    def _token_of(self, one: Planned) -> str:
        if one.number % LIMITED_EVERY == 0:
            return self._limited
        return self._tokens[one.number % len(self._tokens)]


def judge(gateway: Gateway, emulator: Emulator, seen: list[Seen], limited: str) -> list[str]:
    """Compare the three, once nothing is held any more; what does not agree."""
    rows = await_settled(gateway.database_url, emulator)
    ended = {entry["user"]: entry for entry in emulator.ended().values()}
    verdict = Verdict()
    for one in seen:
        entry = ended.get(one.planned.name)
        verdict.judge(one, entry, rows.get(entry["call"]) if entry else None)
    problems = verdict.problems
    known = {entry["call"] for entry in emulator.arrived()}
    ids = Counter(entry["call"] for entry in emulator.arrived())
    problems += [f"{call} was sent upstream {count} times" for call, count in ids.items() if count > 1]
    unsent = {call: row for call, row in rows.items() if call not in known}
    problems += [
        f"{call} never came upstream and was charged: {row}" for call, row in unsent.items() if row["prompt_tokens"]
    ]
    usage = gateway.usage()
    for name in ("requests", "prompt_tokens", "completion_tokens"):
        in_calls = sum(row["answered" if name == "requests" else name] for row in rows.values())
        in_report, expected = sum(row[name] for row in usage), verdict.expected[name]
        say(f"  {name}: expected {expected}, in calls {in_calls}, in chatapi usage {in_report}")
        if len({in_calls, in_report, expected}) > 1:
            problems.append(f"the sums of {name} differ")
    if sum(row["total_tokens"] for row in usage if row["tenant"] == limited) > 5000:
        problems.append("the user with 5,000 tokens used more")
    audit = gateway.run("audit", "--json")
    problems += [f"chatapi audit: {finding}" for finding in json.loads(audit.stdout)] if audit.returncode else []
    for why, count in sorted(verdict.calls.items()):
        say(f"  {count:>6} {why}")
    return problems


def await_settled(url: str, emulator: Emulator) -> dict[str, dict[str, Any]]:
    """The ledger's calls, once none is held and none runs upstream."""
    give_up_at = time.monotonic() + SETTLING_S
    while True:
        rows = rows_of(url)
        over = len(emulator.ended()) == len(emulator.arrived())
        if (over and all(row["state"] != "held" for row in rows.values())) or time.monotonic() > give_up_at:
            return rows
        time.sleep(0.2)


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """A migrated database."""
    if kind == "sqlite":
        yield SQLiteTemplate(folder / "template").copy_to(folder / "chatapi.sqlite3")
        return
    server = Postgres()
    try:
        yield server.url(server.create())
    finally:
        server.close()


def say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
