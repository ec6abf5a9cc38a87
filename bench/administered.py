"""Random calls while administrators change things, and then whether all figures agree.

`python -m bench.administered [--calls 20000] [--database sqlite|postgresql|both] [--quick]`

Three tenants in different time zones, with several users and access tokens each, make calls of every kind that
bench.mixed_calls has, while limits are set, lowered and removed, grants made and withdrawn, access tokens made and
revoked, users disabled, enabled and given passwords. Then the upstream's log, the ledger, the counters, the roll-ups,
every grouping of reports, statements, `/v1/me/usage` and `chatapi audit` must say the same. Exits with 1 where not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench._changes import Administrators
from bench._mixed_client import Seen
from bench._mixed_plan import Planned, plan
from bench.emulator.process import Emulator
from bench.mixed_calls import SHOWN_PROBLEMS, Drive, await_settled, database_of, say
from tests.support.agreement import disagreements
from tests.support.gateway import Gateway
from tests.support.office import Office, open_office
from tests.support.postgres import DATABASES

QUICK_CALLS = 600
ZONES = ("Asia/Tokyo", "Europe/Berlin", "America/New_York")
USERS = ("user", "second", "third")
FILE = '[[upstreams]]\nname = "emulator"\nkind = "compatible"\nbase_url = "{url}"\n'
PRICED = '\n[[models]]\nname = "{name}"\n[[models.prices]]\nprompt = "0.15"\ncompletion = "0.60"\n'


class Administered(Drive):
    """Clients whose access tokens come and go."""

    def __init__(self, url: str, administrators: Administrators) -> None:
        super().__init__(url, [], "")
        self._administrators = administrators

    def _token_of(self, one: Planned) -> str:
        return self._administrators.token(one.number)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--minutes", type=float, default=15.0, help="of each database")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CALLS} calls")
    arguments = parser.parse_args()
    databases = DATABASES if arguments.database == "both" else [arguments.database]
    calls = QUICK_CALLS if arguments.quick else arguments.calls
    say(f"{calls} calls on {' and '.join(databases)}, seed {arguments.seed}")
    good = [agree(kind, calls, arguments.seed, arguments.in_flight, arguments.minutes) for kind in databases]
    sys.exit(not all(good))


def agree(database: str, calls: int, seed: int, in_flight: int, minutes: float) -> bool:
    """Make the calls and the changes on one kind of database; whether all agrees."""
    planned = plan(calls, seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatapi-administered-")))
        url = stack.enter_context(database_of(database, folder))
        emulator = stack.enter_context(Emulator(folder / "served.jsonl"))
        gateway = gateway_before(emulator, url, folder, planned)
        stack.callback(gateway.close)
        offices = open_offices(gateway)
        administrators = Administrators(offices, list(USERS), seed)
        began = time.monotonic()
        administrators.start()
        try:
            drive = Administered(gateway.base_url, administrators)
            seen = asyncio.run(drive.run(planned, in_flight, minutes * 60))
        finally:
            administrators.stop()
        say(
            f"{database}: {len(seen)} calls and {sum(administrators.done.values())} changes "
            f"in {time.monotonic() - began:.0f} s"
        )
        for what, count in sorted(administrators.done.items()):
            say(f"  {count:>6} {what}")
        problems = administrators.problems + judge(gateway, emulator, seen)
    if len(seen) < len(planned):
        problems.append(f"{len(planned) - len(seen)} calls were not made in {minutes} minutes")
    for problem in problems[:SHOWN_PROBLEMS]:
        say(f"  {problem}")
    say(f"{database}: {len(problems) or 'no'} difference{'' if len(problems) == 1 else 's'}")
    return not problems


def gateway_before(emulator: Emulator, url: str, folder: Path, planned: list[Planned]) -> Gateway:
    """A gateway that knows the price of every model that is asked for."""
    models = sorted({str(one.body["model"]) for one in planned})
    path = folder / "upstreams.toml"
    path.write_text(FILE.format(url=emulator.url) + "".join(PRICED.format(name=name) for name in models))
    environment = {"CHATAPI_UPSTREAMS_FILE": str(path), "CHATAPI_WORKERS": "2", "CHATAPI_DAILY_REQUESTS": "1000000"}
    gateway = Gateway(url, upstream_url=None, environment=environment, start=False)
    gateway.start()
    return gateway


def open_offices(gateway: Gateway) -> list[Office]:
    """Tenants in different time zones, with users."""
    offices = [open_office(gateway) for _ in ZONES]
    for office, zone in zip(offices, ZONES, strict=True):
        office.do("operator", "PATCH", office.path, timezone=zone)
        for user in USERS[1:]:
            office.add(user)
    return offices


def judge(gateway: Gateway, emulator: Emulator, seen: list[Seen]) -> list[str]:
    """What does not agree, once nothing is held any more."""
    rows = await_settled(gateway.database_url, emulator)
    statuses = Counter(one.status for one in seen)
    say(f"  statuses: {dict(sorted(statuses.items(), key=str))}")
    problems = [f"{one.planned.name}: {one.problem}" for one in seen if one.problem]
    problems += [f"{count} calls were answered {status}" for status, count in statuses.items() if status == 503]
    arrived = Counter(entry["call"] for entry in emulator.arrived())
    problems += [f"{call} was sent upstream {count} times" for call, count in arrived.items() if count > 1]
    problems += [f"{call} was served and the ledger does not know it" for call in arrived if call not in rows]
    problems += [
        f"{call} never came upstream and was charged: {row}"
        for call, row in rows.items()
        if call not in arrived and row["prompt_tokens"]
    ]
    for entry in emulator.ended().values():
        problems += wrongly_charged(entry, rows.get(entry["call"]))
    audit = gateway.run("audit", "--json")
    problems += [f"chatapi audit: {finding}" for finding in json.loads(audit.stdout)] if audit.returncode else []
    return problems + disagreements(gateway.database_url, audited=False)


def wrongly_charged(entry: dict[str, Any], row: dict[str, Any] | None) -> list[str]:
    """What is wrong with a charge that follows from the usage which the upstream reported."""
    if row is None or row["usage_source"] != "upstream":
        return []
    charged = (row["prompt_tokens"], row["completion_tokens"])
    reported = (entry["prompt_tokens"], entry["completion_tokens"])
    return [] if charged == reported else [f"{entry['call']}: charged {charged}, reported {reported}"]


if __name__ == "__main__":
    main()
