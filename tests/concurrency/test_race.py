"""Real processes race for one quota: exactly as many calls are admitted as it allows, and nobody is denied too early.

`make test` runs each race once; CHATAPI_RACES=20 as often as that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter as Tally

import pytest
from sqlalchemy import select

from chatapi.domain.limits import Metric
from chatapi.domain.windows import Window
from chatapi.storage.tables import counters
from tests.concurrency.world import World, world_of
from tests.support.postgres import DATABASES, FreshDatabase
from tests.support.processes import PROJECT_ROOT, clean_environment

RACES = int(os.environ.get("CHATAPI_RACES", "1"))
PROCESSES, THREADS, LIMIT = 4, 16, 1000
HEAD_START_S = 0.5  # until every process is there


def race(url: str, people: list[str]) -> Tally[str]:
    """Let the processes run, all at once; what happened in all of them."""
    numbers = (str(PROCESSES), str(THREADS), str(HEAD_START_S))
    done = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.racer", url, *numbers, *people],
        env=clean_environment({}), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert (done.returncode, len(said)) == (0, PROCESSES), done.stderr
    return sum((Tally(json.loads(line)) for line in said), Tally())


def used(world: World, scope_id: str) -> tuple[int, int]:
    """Requests that a scope has used today, and that it holds."""
    columns = (counters.c.requests_used, counters.c.requests_held)
    with world.database.read() as connection:
        row = connection.execute(
            select(*columns).where(counters.c.scope_id == scope_id, counters.c.window == "day")
        ).one()
    return row.requests_used, row.requests_held


@pytest.mark.usefixtures("far_from_midnight")
@pytest.mark.parametrize("bound", ["tenant", "user"])
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("number", range(RACES))
def test_processes_that_race_are_admitted_exactly_as_often_as_the_limit_allows(
    fresh_database: FreshDatabase, kind: str, bound: str, number: int
) -> None:
    url = fresh_database(kind)
    with world_of(url) as world:
        tenant_id = world.add_tenant("racers")
        people = [world.add_user(f"racer-{name}", "racers") for name in range(8 if bound == "tenant" else 1)]
        scope_id = tenant_id if bound == "tenant" else people[0].user_id
        world.set_limit(bound, scope_id, Metric.REQUESTS, Window.DAY, LIMIT, tenant_id=tenant_id)
        happened = race(url, [f"{claims.tenant_id}/{claims.user_id}/{claims.jti}" for claims in people])
        print(f"race {number} on {kind}, {bound}-bound: {dict(happened)}")
        assert happened["granted"] == LIMIT
        assert happened["falsely_denied"] == 0
        assert happened["denied"] == PROCESSES * THREADS
        assert used(world, scope_id) == (LIMIT, 0)
        assert world.audit() == []
