"""Workers that are killed, asked to stop, or lose their database, in the middle of calls: nothing is held for ever,
nothing is lost, and every call that the upstream saw has its row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from chatapi.domain.calls import Grant
from chatapi.storage.tables import calls, counters, workers
from tests.chaos.streams import Streams
from tests.concurrency.world import ask, world_of
from tests.support.faults import FaultyUpstream, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.http import event_lines
from tests.support.postgres import Postgres
from tests.support.routes import API, COMPLETIONS

pytestmark = pytest.mark.chaos

LONG = bool(os.environ.get("CHATAPI_CHAOS"))
STREAMS = 200 if LONG else 50
PIECES = 400  # at 0.1 s each: longer than any of these tests
QUICK = {
    "CHATAPI_LEASE_S": "2",
    "CHATAPI_RENEW_S": "0.5",
    "CHATAPI_GRACEFUL_TIMEOUT_S": "5",
    "CHATAPI_WORKERS": "1",
    "CHATAPI_DAILY_REQUESTS": "unlimited",
}


def long_text(marker: str) -> str:
    """A text whose answer is streamed slowly and for long."""
    return f"{marker} fault:slow " + "word " * PIECES


def workers_of(master: int) -> list[int]:
    """The process ids of gunicorn's workers."""
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(master)], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.split()]


def rows(url: str) -> dict[str, str]:
    """The state of every call in the ledger, by id."""
    with world_of(url) as world, world.database.read() as connection:
        return {row.id: row.state for row in connection.execute(select(calls.c.id, calls.c.state))}


def held(url: str) -> int:
    """Requests and tokens that counters hold."""
    with world_of(url) as world, world.database.read() as connection:
        total = func.sum(counters.c.requests_held + counters.c.tokens_held)
        return int(connection.execute(select(total)).scalar() or 0)


def await_that(true: Callable[[], bool], what: str, patience_s: float = 20.0) -> None:
    """Wait until something is so."""
    give_up_at = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up_at, f"it never came true that {what}"
        time.sleep(0.1)


def assert_sound(gateway: Gateway) -> None:
    """`chatapi audit` finds nothing, and nothing is held."""
    done = gateway.run("audit", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == []
    assert held(gateway.database_url) == 0


def test_after_a_worker_was_killed_amid_its_streams_the_sweep_leaves_a_sound_ledger(
    database_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(database_url, environment=QUICK, start=False)
    gateway.start_with_users()
    streams = Streams()
    streams.begin(gateway, long_text(marker), STREAMS, gateway.somebody)
    faults.await_about(marker, count=STREAMS, patience_s=30)
    (worker,) = workers_of(gateway.pid)
    os.kill(worker, signal.SIGKILL)
    streams.join()
    assert all(stream.broken for stream in streams.seen)
    assert set(rows(database_url).values()) == {"held"}
    await_that(lambda: "held" not in rows(database_url).values(), "the new worker has swept")
    states = rows(database_url)
    seen = {served.call_id for served in faults.about(marker)}
    assert seen <= states.keys()
    assert [states[call_id] for call_id in seen if call_id] == ["expired"] * STREAMS
    assert_sound(gateway)


def test_when_every_process_is_dead_the_sweep_command_expires_what_they_held(
    postgres_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(postgres_url, environment=QUICK, start=False)
    gateway.start_with_users()
    streams = Streams()
    streams.begin(gateway, long_text(marker), 3, gateway.somebody)
    faults.await_about(marker, count=3)
    os.killpg(gateway.pid, signal.SIGKILL)
    streams.join()
    swept = gateway.run("sweep")
    assert swept.returncode == 0, swept.stderr
    assert swept.stdout == "3 calls expired.\n"
    assert "Waiting" in swept.stderr
    assert gateway.cli("sweep", "--no-wait") == "0 calls expired.\n"
    assert_sound(gateway)


def test_sigterm_ends_open_streams_with_an_error_event_and_settles_them(
    database_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(database_url, environment=QUICK, start=False)
    gateway.start_with_users()
    streams = Streams()
    streams.begin(gateway, long_text(marker), STREAMS, gateway.somebody)
    faults.await_about(marker, count=STREAMS, patience_s=30)
    time.sleep(1)
    assert gateway.stop(patience_s=20) == 0
    streams.join()
    for stream in streams.seen:
        last = json.loads(event_lines(stream.text)[-1])
        assert last["error"]["message"]
    assert set(rows(database_url).values()) == {"settled"}
    assert_sound(gateway)


def test_sigterm_lets_calls_finish_that_can(
    sqlite_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(sqlite_url, environment={**QUICK, "CHATAPI_GRACEFUL_TIMEOUT_S": "20"}, start=False)
    gateway.start_with_users()
    streams, token = Streams(), gateway.somebody
    streams.begin(gateway, f"{marker} fault:slow " + "word " * 15, 3, token)
    with ThreadPoolExecutor(1) as pool:
        plain = pool.submit(API.ask, gateway, f"{marker} fault:gate-{marker}", token)
        faults.await_about(marker, count=4)
        os.kill(gateway.pid, signal.SIGTERM)
        time.sleep(0.5)
        faults.open_gate(marker)
        assert plain.result().status_code == 200
    streams.join()
    assert [stream.text.rstrip().endswith("data: [DONE]") for stream in streams.seen] == [True] * 3
    assert gateway.stop() == 0
    assert set(rows(sqlite_url).values()) == {"settled"}
    assert_sound(gateway)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop."""
    server = Postgres()
    yield server
    server.close()


def test_a_stream_outlives_its_database_and_is_settled_when_that_is_back(
    own_postgres: Postgres, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    url = own_postgres.url(own_postgres.create())
    gateway = make_gateway(url, environment={**QUICK, "CHATAPI_LEASE_S": "30"}, start=False)
    gateway.start_with_users()
    streams, token = Streams(), gateway.somebody
    streams.begin(gateway, f"{marker} fault:slow " + "word " * 15, 2, token)
    faults.await_about(marker, count=2)
    own_postgres.stop()
    refused = COMPLETIONS.ask(gateway, f"{marker} while it is away", token)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert len(faults.about(marker)) == 2
    streams.join()
    assert [stream.text.count(reply_to("")[:3]) for stream in streams.seen] == [1, 1]
    own_postgres.start()
    await_that(lambda: list(rows(url).values()) == ["settled"] * 2, "both settlements arrived")
    assert_sound(gateway)


def test_a_call_that_its_worker_lost_track_of_is_ended_by_its_next_renewal(
    sqlite_url: str, make_gateway: MakeGateway
) -> None:
    gateway = make_gateway(sqlite_url, environment=QUICK, start=False)
    gateway.start_with_users()
    with world_of(sqlite_url) as world, world.database.read() as connection:
        (worker_id,) = connection.execute(select(workers.c.id)).scalars()
        connection.rollback()
        world.add_tenant("strays")
        decision = world.writer.submit(ask(world.add_user("stray", "strays"), worker_id))
    assert isinstance(decision, Grant)
    await_that(lambda: rows(sqlite_url)[decision.call.call_id] == "expired", "the stray was ended")
    assert_sound(gateway)
