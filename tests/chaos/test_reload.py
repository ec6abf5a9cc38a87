"""SIGHUP: new workers with the settings as they are now, and no stream ends and no connection is refused for it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import select, update

from chatapi.storage.tables import installation
from tests.chaos.machines import await_that, children_of
from tests.chaos.streams import Streams
from tests.chaos.test_killed_worker import assert_sound, long_text
from tests.concurrency.world import world_of
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.http import NO_TLS, event_lines
from tests.support.ledger import endings
from tests.support.postgres import FreshDatabase
from tests.support.routes import API

pytestmark = pytest.mark.chaos
GRACE_S = 5
STREAMS = 20
SETTINGS = {
    "CHATAPI_GRACEFUL_TIMEOUT_S": str(GRACE_S),
    "CHATAPI_WORKERS": "2",
    "CHATAPI_DAILY_REQUESTS": "unlimited",
    "CHATAPI_WAIT_S": "0",
}


class Place:
    """A gateway whose settings stand in a file."""

    def __init__(self, gateway: Gateway, file: Path) -> None:
        self.gateway = gateway
        self.file = file

    def configure(self, **settings: str) -> None:
        settings = {"CHATAPI_BIND": f"127.0.0.1:{self.gateway.port}", **settings}
        self.file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def reload(self) -> None:
        os.kill(self.gateway.pid, signal.SIGHUP)

    def workers(self) -> set[int]:
        return set(children_of(self.gateway.pid))

    def await_new_workers(self, old: set[int], patience_s: float = 30.0) -> None:
        await_that(lambda: len(self.workers()) == 2 and not self.workers() & old, "new workers serve", patience_s)


def place_of(make_gateway: MakeGateway, database_url: str, file: Path) -> Place:
    """A gateway that has begun to serve."""
    environment = {**SETTINGS, "CHATAPI_ENV_FILE": str(file), "CHATAPI_BIND": ""}
    place = Place(make_gateway(database_url, environment=environment, start=False), file)
    place.configure(CHATAPI_MODEL="before")
    place.gateway.start_with_users()
    return place


@pytest.fixture
def place(database_url: str, make_gateway: MakeGateway, tmp_path: Path) -> Place:
    """A gateway of the test's own, which may end."""
    return place_of(make_gateway, database_url, tmp_path / "settings.env")


@pytest.fixture(scope="module")
def lasting(
    lasting_database: FreshDatabase, make_lasting_gateway: MakeGateway, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """A gateway that goes on serving after each test, with the settings that the last of them left."""
    return place_of(
        make_lasting_gateway, lasting_database("sqlite"), tmp_path_factory.mktemp("reload") / "settings.env"
    )


@contextmanager
def visitors(gateway: Gateway) -> Iterator[list[object]]:
    """Somebody who comes in anew all the time; what went wrong for them."""
    wrong: list[object] = []
    token = gateway.somebody
    done = threading.Event()

    def visit(path: str) -> None:
        while not done.is_set():
            try:
                with httpx2.Client(base_url=gateway.base_url, timeout=30.0, trust_env=False, verify=NO_TLS) as client:
                    answer = client.get(path, headers={"Authorization": f"Bearer {token}"})
                if answer.status_code != 200:
                    wrong.append(answer.text)
            except httpx2.TransportError as error:
                wrong.append(error)
            time.sleep(0.03)

    threads = [threading.Thread(target=visit, args=(path,)) for path in ("/healthz", "/api?q=hello")]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        done.set()
        for thread in threads:
            thread.join()


def model_of(place: Place, faults: FaultyUpstream, marker: str) -> str:
    """The model that a question is answered by."""
    assert API.ask(place.gateway, marker, place.gateway.somebody).status_code == 200
    model: str = faults.about(marker)[-1].body["model"]
    return model


def test_streams_go_on_beyond_the_graceful_timeout_and_new_calls_are_served(
    place: Place, faults: FaultyUpstream, marker: str
) -> None:
    before, streams = place.workers(), Streams()
    streams.begin(place.gateway, f"{marker} fault:slow " + "word " * 95, STREAMS, place.gateway.sign_in())
    faults.await_about(marker, count=STREAMS, patience_s=30)
    with visitors(place.gateway) as wrong:
        time.sleep(0.5)
        assert model_of(place, faults, f"{marker} first") == "before"
        place.configure(CHATAPI_MODEL="after")
        reloaded_at = time.monotonic()
        place.reload()
        await_that(lambda: model_of(place, faults, f"{marker} second") == "after", "the new settings hold")
        streams.join()
        assert time.monotonic() - reloaded_at > GRACE_S
        place.await_new_workers(before)
    assert wrong == []
    assert [event_lines(stream.text)[-1] for stream in streams.seen] == ["[DONE]"] * STREAMS
    assert {call.ended for call in endings(place.gateway.database_url)} == {"completed"}
    assert_sound(place.gateway)


def test_what_cannot_be_reloaded_leaves_all_as_it_was(lasting: Place, faults: FaultyUpstream, marker: str) -> None:
    place, before = lasting, lasting.workers()
    model = model_of(place, faults, f"{marker} first")
    with visitors(place.gateway) as wrong:
        place.configure(CHATAPI_LEASE_S="no number")
        place.reload()
        await_that(lambda: "Not reloaded" in place.gateway.log(), "the mistake is told")
        assert place.workers() == before
        place.file.unlink()
        place.reload()
        time.sleep(1)
        assert place.workers() == before
        assert model_of(place, faults, f"{marker} second") == model
    assert wrong == []


def test_another_address_takes_a_restart_and_the_rest_is_reloaded(
    lasting: Place, faults: FaultyUpstream, marker: str
) -> None:
    before = lasting.workers()
    lasting.configure(CHATAPI_MODEL="of another address", CHATAPI_BIND="127.0.0.1:1")
    lasting.reload()
    lasting.await_new_workers(before)
    assert "another CHATAPI_BIND" in lasting.gateway.log()
    assert model_of(lasting, faults, marker) == "of another address"


def test_old_workers_serve_on_while_the_new_ones_cannot_start(
    lasting: Place, faults: FaultyUpstream, marker: str
) -> None:
    place, before = lasting, lasting.workers()
    model = model_of(place, faults, f"{marker} earlier")
    with visitors(place.gateway) as wrong, world_of(place.gateway.database_url) as world:
        with world.database.write() as connection:
            (fingerprint,) = connection.execute(select(installation.c.jwt_fingerprint)).scalars()
            connection.execute(update(installation).values(jwt_fingerprint="of another installation"))
        place.configure(CHATAPI_MODEL="of those that could not start")
        place.reload()
        await_that(lambda: place.gateway.log().count("a worker cannot start") >= 3, "they have tried")
        assert before <= place.workers()
        assert model_of(place, faults, f"{marker} first") == model
        with world.database.write() as connection:
            connection.execute(update(installation).values(jwt_fingerprint=fingerprint))
        place.await_new_workers(before)
        assert model_of(place, faults, f"{marker} second") == "of those that could not start"
    assert wrong == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_new_worker_that_dies_is_replaced_while_old_ones_still_end(
    place: Place, faults: FaultyUpstream, marker: str
) -> None:
    before, streams = place.workers(), Streams()
    streams.begin(place.gateway, long_text(marker), 6, place.gateway.sign_in())
    faults.await_about(marker, count=6, patience_s=30)
    place.reload()
    await_that(lambda: len(place.workers() - before) == 2, "the new ones were started")
    time.sleep(2)
    (killed, _) = new = sorted(place.workers() - before)
    os.kill(killed, signal.SIGKILL)
    await_that(lambda: len(place.workers() - before - set(new)) == 1, "another was started")
    assert place.workers() & before
    assert place.gateway.http.get("/healthz").status_code == 200
    stopped_at = time.monotonic()
    assert place.gateway.stop(patience_s=20) == 0
    assert time.monotonic() - stopped_at < GRACE_S + 2
    streams.join()
    for stream in streams.seen:
        assert "error" in json.loads(event_lines(stream.text)[-1])
    assert {call.ended for call in endings(place.gateway.database_url)} == {"shutdown"}
    assert_sound(place.gateway)
