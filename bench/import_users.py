"""How long an import takes: `python -m bench.import_users [--quick] [--users 10000] [--database-url URL]`.

Imports a file of users with given hashes (so nothing is hashed here) by the steps of `chatapi users import`:
parse, look, plan, write; then the same file again, which must change nothing. Without a URL a new SQLite file is used.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatapi.domain.password_hashes import random_hash
from chatapi.domain.user_csv import parse
from chatapi.logic import schema
from chatapi.logic.actors import command_actor
from chatapi.logic.passwords import COST
from chatapi.logic.user_imports import import_users
from chatapi.parts import build_runtime
from chatapi.settings import load_settings

GOAL_USERS, GOAL_S = 10_000, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the users")
    parser.add_argument("--users", type=int)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--database-url", help="an empty database")
    arguments = parser.parse_args()
    users = arguments.users or (GOAL_USERS // 10 if arguments.quick else GOAL_USERS)
    content = users_csv(users, arguments.tenants)
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.database_url or f"sqlite:///{Path(folder) / 'bench.sqlite3'}"
        runtime = build_runtime(load_settings(database_url=url, var_dir=Path(folder), openai_api_key="unused"))
        schema.upgrade(runtime)
        began = time.perf_counter()
        with measured("parse"):
            rows = parse(io.BytesIO(content))
        with measured("import"):
            report = import_users(runtime, command_actor(), rows)
        took = time.perf_counter() - began
        with measured("import again"):
            again = import_users(runtime, command_actor(), parse(io.BytesIO(content)))
        runtime.database.close()
    print(f"created {report.created}, then unchanged {again.unchanged}")
    print(f"{users} users with given hashes: {took:.1f} s (goal: {GOAL_USERS} in under {GOAL_S} s)")


def users_csv(users: int, tenants: int) -> bytes:
    lines = [
        f'user-{number},tenant-{number % tenants},{number % 50},unlimited,"{random_hash(COST)}"'
        for number in range(users)
    ]
    return "\n".join(["username,tenant,daily_requests,daily_tokens,password_hash", *lines]).encode()


@contextmanager
def measured(what: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.2f} s", flush=True)


if __name__ == "__main__":
    main()
