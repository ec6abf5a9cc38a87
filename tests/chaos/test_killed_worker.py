"""Workers that are killed, asked to stop, or lose their database, in the middle of calls: nothing is held for ever,
nothing is lost, and every call that the upstream saw has its row."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from chatapi.domain.calls import Grant
from chatapi.storage.tables import calls, workers
from tests.chaos.machines import LONG, QUICK, await_that, children_of
from tests.chaos.reconcile import held
from tests.chaos.streams import Streams
from tests.concurrency.world import ask, world_of
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.http import event_lines
from tests.support.routes import API

pytestmark = pytest.mark.chaos

STREAMS = 200 if LONG else 30
PIECES = 400  # at 0.1 s each: longer than any of these tests
ONE_WORKER = {**QUICK, "CHATAPI_WORKERS": "1"}


def long_text(marker: str) -> str:
    """A text whose answer is streamed slowly and for long."""
    return f"{marker} fault:slow " + "word " * PIECES


def rows(url: str) -> dict[str, str]:
    """The state of every call in the ledger, by id."""
    with world_of(url) as world, world.database.read() as connection:
        return {row.id: row.state for row in connection.execute(select(calls.c.id, calls.c.state))}


def assert_sound(gateway: Gateway) -> None:
    """`chatapi audit` finds nothing, and nothing is held."""
    done = gateway.run("audit", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == []
    assert held(gateway.database_url) is None


def test_after_a_worker_was_killed_amid_its_streams_the_sweep_leaves_a_sound_ledger(
    sqlite_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(sqlite_url, environment=ONE_WORKER, start=False)
    gateway.start_with_users()
    streams = Streams()
    streams.begin(gateway, long_text(marker), STREAMS, gateway.somebody)
    faults.await_about(marker, count=STREAMS, patience_s=30)
    (worker,) = children_of(gateway.pid)
    os.kill(worker, signal.SIGKILL)
    streams.join()
    assert all(stream.broken for stream in streams.seen)
    assert set(rows(sqlite_url).values()) == {"held"}
    await_that(lambda: "held" not in rows(sqlite_url).values(), "the new worker has swept")
    states = rows(sqlite_url)
    seen = {served.call_id for served in faults.about(marker)}
    assert seen <= states.keys()
    assert [states[call_id] for call_id in seen if call_id] == ["expired"] * STREAMS
    assert_sound(gateway)


def test_when_every_process_is_dead_the_sweep_command_expires_what_they_held(
    postgres_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(postgres_url, environment=ONE_WORKER, start=False)
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
    sqlite_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(sqlite_url, environment=ONE_WORKER, start=False)
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
    assert set(rows(sqlite_url).values()) == {"settled"}
    assert_sound(gateway)


def test_sigterm_lets_calls_finish_that_can(
    sqlite_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(sqlite_url, environment={**ONE_WORKER, "CHATAPI_GRACEFUL_TIMEOUT_S": "20"}, start=False)
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


def test_a_call_that_its_worker_lost_track_of_is_ended_by_its_next_renewal(
    sqlite_url: str, make_gateway: MakeGateway
) -> None:
    gateway = make_gateway(sqlite_url, environment=ONE_WORKER, start=False)
    gateway.start_with_users()
    with world_of(sqlite_url) as world, world.database.read() as connection:
        (worker_id,) = connection.execute(select(workers.c.id)).scalars()
        connection.rollback()
        world.add_tenant("strays")
        decision = world.writer.submit(ask(world.add_user("stray", "strays"), worker_id))
    assert isinstance(decision, Grant)
    await_that(lambda: rows(sqlite_url)[decision.call.call_id] == "expired", "the stray was ended")
    assert_sound(gateway)
