"""`Idempotency-Key`: what is sent again is answered again, and neither asked nor charged twice.

Two gateways share the database, so whoever repeats may meet another process. The upstream numbers its replies: two
calls never get the same bytes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from chatapi.storage.tables import idempotency_keys
from tests.concurrency.world import world_of
from tests.support.gateway import JWT_SECRET, ONE_WORKER, Gateway, MakeGateway
from tests.support.http import Http
from tests.support.repeats import (
    CHAT,
    LARGE_BYTES,
    PATIENCE_S,
    REPLAYED,
    UPSTREAMS,
    Caller,
    Upstream,
    Way,
    embedded,
    expire,
    is_replay,
    owners,
    plain,
    refused,
    refusing_replies,
    streamed,
    uploaded,
)
from tests.support.routes import messages
from tests.upstream.servers import serving

WAIT_S = 2.0
MOST_WAITING = 8
SETTINGS = {
    **ONE_WORKER,
    "CHATAPI_RENEW_S": "1",
    "CHATAPI_WAIT_CALLS": str(MOST_WAITING),
    "CHATAPI_IDEMPOTENCY_WAIT_S": str(WAIT_S),
    "CHATAPI_IDEMPOTENCY_BYTES": str(LARGE_BYTES),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    with serving(made.script) as made.server:
        yield made
        for gate in made.gates.values():
            gate.set()


@pytest.fixture(scope="module")
def gateways(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    upstream: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Gateway]:
    file = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    file.write_text(UPSTREAMS.format(url=upstream.server.base_url))
    environment = {**SETTINGS, "CHATAPI_UPSTREAMS_FILE": str(file)}
    made = [make_lasting_gateway(lasting_database_url, environment=environment, start=False) for _ in range(2)]
    made[0].start_with_users()
    made[1].start()
    return made


@pytest.fixture
def caller(gateways: list[Gateway]) -> Caller:
    return Caller(gateways)


@pytest.mark.parametrize("way", [plain, streamed, embedded, uploaded])
def test_what_is_repeated_is_answered_again_and_charged_once(
    caller: Caller, upstream: Upstream, marker: str, way: Way
) -> None:
    first = way(caller, marker, "a key", 0)
    charged = caller.charged()
    assert charged[0] == 1
    assert charged[1] > 0
    assert is_replay(way(caller, marker, "a key", 1), first)
    assert is_replay(way(caller, marker, "a key", 0), first)
    assert len(upstream.about(marker)) == 1
    assert caller.charged() == charged
    other = way(caller, marker, "another key", 1)
    assert (other.status_code, REPLAYED in other.headers) == (200, False)
    assert len(upstream.about(marker)) == 2


def test_a_key_belongs_to_its_request_and_to_its_user(
    gateways: list[Gateway], caller: Caller, upstream: Upstream, marker: str
) -> None:
    first = caller.ask(marker, "key")
    assert first.status_code == 200
    assert refused(caller.ask(f"{marker}!", "key", at=1), 422) == "idempotency_key_other_request"
    assert refused(caller.ask(marker, "key", seed=1), 422) == "idempotency_key_other_request"
    same_elsewhere = caller.ask(marker, "key", path="/v1/completions", prompt=marker)
    assert refused(same_elsewhere, 422) == "idempotency_key_other_request"
    assert len(upstream.about(marker)) == 1
    others = Caller(gateways).ask(marker, "key")
    assert (others.status_code, REPLAYED in others.headers) == (200, False)
    assert others.content != first.content
    assert is_replay(caller.ask(marker, "key"), first)


@pytest.mark.parametrize("stream", [False, True])
def test_of_many_at_once_on_two_gateways_one_is_sent_and_all_get_its_reply(
    gateways: list[Gateway], caller: Caller, upstream: Upstream, marker: str, stream: bool
) -> None:
    clients = [Http(gateway.base_url) for gateway in gateways for _ in range(MOST_WAITING)]
    said = f"{marker} do:gate"
    with ThreadPoolExecutor(len(clients)) as pool:
        asked = [pool.submit(caller.ask, said, "key", http=http, stream=stream) for http in clients]
        threading.Timer(0.4, upstream.gates[marker].set).start()
        answers = [each.result() for each in asked]
    for http in clients:
        http.close()
    assert [answer.status_code for answer in answers] == [200] * len(clients)
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert len(upstream.about(marker)) == 1
    assert caller.charged()[0] == 1
    assert gateways[0].run("audit").returncode == 0


def test_who_repeats_a_call_that_runs_too_long_is_told_so_and_no_more_may_wait_than_the_settings_say(
    gateways: list[Gateway], caller: Caller, upstream: Upstream, marker: str
) -> None:
    said = f"{marker} do:gate"
    clients = [Http(gateways[1].base_url) for _ in range(MOST_WAITING + 2)]
    with ThreadPoolExecutor(len(clients) + 1) as pool:
        first = pool.submit(caller.ask, said, "key")
        while not upstream.about(marker):
            time.sleep(0.01)
        late = caller.ask(said, "key", at=1)
        assert refused(late, 409) == "idempotency_key_running"
        assert late.headers["retry-after"] == "1"
        asked = [pool.submit(caller.ask, said, "key", http=http) for http in clients]
        threading.Timer(0.5, upstream.gates[marker].set).start()
        answers = [each.result() for each in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * MOST_WAITING + [409] * 2
    for http in clients:
        http.close()
    assert all(is_replay(answer, first.result()) for answer in answers if answer.status_code == 200)
    assert len(upstream.about(marker)) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_failed_has_freed_its_key(caller: Caller, upstream: Upstream, marker: str, stream: bool) -> None:
    said = f"{marker} do:fail"
    assert caller.ask(said, "key", stream=stream).status_code == 502
    second = caller.ask(said, "key", at=1, stream=stream)
    assert (second.status_code, REPLAYED in second.headers) == (200, False)
    assert is_replay(caller.ask(said, "key", stream=stream), second)
    assert len(upstream.about(marker)) == 2
    assert caller.charged()[0] == 1


def test_a_client_that_left_has_freed_its_key(caller: Caller, upstream: Upstream, marker: str) -> None:
    body = {"model": "tiny", "messages": messages(f"{marker} do:gate"), "stream": True}
    http, headers = Http(caller.gateways[0].base_url), {"Idempotency-Key": "key"}
    with http.stream(CHAT, json=body, access_token=caller.token, headers=headers) as answer:
        next(answer.iter_bytes())
    http.close()
    again = caller.ask(f"{marker} do:gate", "key", at=1, stream=True)  # waits until it is noticed that nobody listens
    assert (again.status_code, REPLAYED in again.headers) == (200, False)
    assert len(upstream.about(marker)) == 2
    assert is_replay(caller.ask(f"{marker} do:gate", "key", stream=True), again)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_that_is_too_large_is_not_kept_and_not_asked_for_twice(
    caller: Caller, upstream: Upstream, marker: str, stream: bool
) -> None:
    said = f"{marker} do:large"
    assert len(caller.ask(said, "key", stream=stream).content) > LARGE_BYTES
    again = caller.ask(said, "key", at=1, stream=stream)
    assert refused(again, 409) == "idempotency_key_not_kept"
    assert "was answered and charged, but its reply was not kept" in again.json()["error"]["message"]
    assert again.headers["x-should-retry"] == "false"
    assert int(again.headers["retry-after"]) > 86_000
    assert len(upstream.about(marker)) == 1


def test_a_quota_that_is_used_up_denies_no_repeat(gateways: list[Gateway], marker: str) -> None:
    poor = Caller(gateways, "one")
    first = poor.ask(marker, "key")
    assert poor.ask(marker, "another").status_code == 429
    again = poor.ask(marker, "key", at=1)
    assert is_replay(again, first)
    assert again.headers["x-ratelimit-remaining-requests"] == "0"


def test_a_repeat_needs_no_upstream(caller: Caller, upstream: Upstream, marker: str) -> None:
    first = caller.ask(marker, "key", model="fragile")
    for number in range(3):
        assert caller.ask(f"{marker} do:break", f"key {number}", at=1, model="fragile").status_code == 502
    asked = len(upstream.about(marker))
    assert caller.ask(marker, "another", at=1, model="fragile").is_server_error
    assert is_replay(caller.ask(marker, "key", at=1, model="fragile"), first)
    assert len(upstream.about(marker)) == asked


@pytest.fixture
def unkeepable(gateways: list[Gateway]) -> Iterator[None]:
    with refusing_replies(gateways[0].database_url):
        yield


@pytest.mark.usefixtures("unkeepable")
@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_that_the_database_does_not_take_is_given_once_and_not_asked_for_twice(
    caller: Caller, upstream: Upstream, marker: str, stream: bool
) -> None:
    assert caller.ask(marker, "key", stream=stream).status_code == 200
    assert caller.charged()[0] == 1
    assert refused(caller.ask(marker, "key", at=1, stream=stream), 409) == "idempotency_key_not_kept"
    assert len(upstream.about(marker)) == 1
    assert "reply_not_kept" in caller.gateways[0].log()


def test_a_revoked_access_token_gets_no_reply_again(gateways: list[Gateway], caller: Caller, marker: str) -> None:
    assert caller.ask(marker, "key").status_code == 200
    gateways[0].cli("users", "disable", caller.user.name)
    assert refused(caller.ask(marker, "key", at=1), 401) == "invalid_api_key"


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel".encode(), "tab\tin it"], ids=repr)
def test_a_key_that_cannot_be_one_is_refused(caller: Caller, upstream: Upstream, marker: str, key: Any) -> None:
    answer = caller.ask(marker, key)
    assert refused(answer, 400) == "invalid_idempotency_key"
    assert (
        answer.json()["error"]["message"] == "Invalid 'Idempotency-Key': expected 1 to 255 printable ASCII characters."
    )
    assert not upstream.about(marker)


def test_an_expired_key_is_free_and_forgotten(caller: Caller, upstream: Upstream, marker: str) -> None:
    url, first = caller.gateways[0].database_url, caller.ask(marker, "key")
    with world_of(url) as world:
        user_id = expire(world)
        again = caller.ask(marker, "key", at=1)
        assert (again.status_code, REPLAYED in again.headers) == (200, False)
        assert again.content != first.content
        assert len(upstream.about(marker)) == 2
        assert expire(world) == user_id
        give_up_at = time.monotonic() + PATIENCE_S
        while user_id in owners(world):
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def test_nothing_of_a_request_can_be_read_from_the_database(caller: Caller, marker: str) -> None:
    assert "reply" in caller.ask(marker, "the key that I gave").text
    with world_of(caller.gateways[0].database_url) as world, world.database.read() as connection:
        rows = connection.execute(select(idempotency_keys)).all()
    kept = repr(rows)
    assert all(bytes(row.reply) for row in rows if row.reply is not None)
    for secret in (marker, "the key that I gave", "reply 1", "choices", "application/json", JWT_SECRET):
        assert secret not in kept
    assert "the key that I gave" not in "".join(gateway.log() for gateway in caller.gateways)


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_key_nothing_is_kept_or_given_again(caller: Caller, marker: str, stream: bool) -> None:
    body = {"model": "tiny", "messages": messages(marker), "stream": stream}
    answers = [caller.gateways[0].http.post(CHAT, json=body, access_token=caller.token) for _ in range(2)]
    assert len({answer.content for answer in answers}) == 2
    assert not any(REPLAYED in answer.headers for answer in answers)


def test_replies_outlive_the_gateway(gateways: list[Gateway], caller: Caller, marker: str) -> None:
    first = caller.ask(marker, "key", at=1)
    gateways[1].stop()
    gateways[1].start()
    assert is_replay(caller.ask(marker, "key", at=1), first)
