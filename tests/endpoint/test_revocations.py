"""Who is disabled or revoked in the middle of an answer does not get the rest of it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapi.domain.principals import Claims
from chatapi.storage import revocations
from chatapi.storage.ledger import new_id
from tests.chaos.streams import Streams
from tests.concurrency.world import World, world_of
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.http import event_lines
from tests.support.ledger import endings
from tests.support.routes import COMPLETIONS, NO_SUCH_TOKEN
from tests.support.users import User

RENEW_S = 1.0
SETTINGS = {"CHATAPI_RENEW_S": str(RENEW_S), "CHATAPI_LEASE_S": "3", "CHATAPI_WORKERS": "2"}
STREAMS = 4  # so that both workers have some
NAMED = "a program"
LONG = " fault:slow " + "word " * 400


@pytest.fixture(scope="module")
def quick(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> Gateway:
    """A gateway of two workers that renew often."""
    gateway = make_lasting_gateway(lasting_database_url, environment=SETTINGS, start=False)
    gateway.start_with_users()
    return gateway


REVOKE: dict[str, Callable[[Gateway, User], object]] = {
    "user": lambda gateway, user: gateway.cli("users", "disable", user.name),
    "tenant": lambda gateway, user: gateway.cli("tenants", "disable", user.tenant),
    "access token": lambda gateway, user: gateway.cli("access-tokens", "revoke", user.name, NAMED),
    "own password": lambda gateway, user: gateway.http.post(
        "/v1/me/password",
        json={"current_password": user.password, "new_password": "one of my own"},
        access_token=gateway.token(user),
    ).raise_for_status(),
    "password": lambda gateway, user: gateway.cli(
        "users", "set-password", user.name, "--password-stdin", stdin="another password of the tests\n"
    ),
}


def test_the_streams_of_the_revoked_end_and_those_of_others_go_on(
    quick: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    revoked, before = {quick.users.take("many"): revoke for revoke in REVOKE.values()}, len(endings(quick.database_url))
    theirs, others = Streams(), Streams()
    for user in revoked:
        theirs.begin(quick, marker + LONG, STREAMS, quick.cli("access-tokens", "add", user.name, NAMED).strip())
    others.begin(quick, marker + " fault:slow " + "word " * 60, STREAMS, quick.sign_in())
    faults.await_about(marker, count=(len(REVOKE) + 1) * STREAMS)
    time.sleep(0.5)
    for user, revoke in revoked.items():
        revoke(quick, user)
    revoked_at = time.monotonic()
    theirs.join()
    assert time.monotonic() - revoked_at < 2 * RENEW_S + 1
    others.join()
    for stream in theirs.seen:
        assert stream.status == 200
        assert "error" in json.loads(event_lines(stream.text)[-1])
    assert [event_lines(stream.text)[-1] for stream in others.seen] == ["[DONE]"] * STREAMS
    kinds = Counter(call.kind for call in endings(quick.database_url)[before:])
    assert kinds == {
        ("settled", "completed", True, "upstream"): STREAMS,
        ("settled", "revoked", False, "counted"): len(REVOKE) * STREAMS,
    }
    assert quick.run("audit").returncode == 0


def test_a_plain_call_of_the_revoked_is_broken_off(quick: Gateway, faults: FaultyUpstream, marker: str) -> None:
    user, before = quick.users.take("many"), len(endings(quick.database_url))
    token = quick.token(user)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(COMPLETIONS.ask, quick, f"{marker} fault:hang", token)
        faults.await_about(marker)
        quick.cli("users", "disable", user.name)
        refused = answer.result(timeout=2 * RENEW_S + 2)
    assert refused.status_code == 401
    assert COMPLETIONS.refusal(refused) == NO_SUCH_TOKEN
    assert [call.kind for call in endings(quick.database_url)[before:]] == [("settled", "revoked", False, "hold")]


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with world_of(database_url) as world:
        world.add_tenant("acme")
        world.add_tenant("globex")
        yield world


def test_many_principals_are_looked_up_in_batches_and_each_by_its_own_tenant(world: World) -> None:
    users = [world.add_user(f"user-{number}", "acme") for number in range(revocations.BATCH + 30)]
    assert revocations.revoked(world.database, users * 2) == set()
    world.change("users", users[-1].user_id, status="disabled")
    with world.database.read() as connection:
        now = world.database.now(connection)
    world.change("access_tokens", users[0].jti, revoked_at=now)
    world.change("access_tokens", users[1].jti, expires_at=now)  # only expired: it may end what it began
    elsewhere = Claims(world.tenants["globex"], users[2].user_id, users[2].jti)
    of_another = Claims(users[3].tenant_id, users[4].user_id, users[3].jti)
    unknown = Claims(users[5].tenant_id, users[5].user_id, new_id())
    gone = {users[0], users[-1], elsewhere, of_another, unknown}
    assert revocations.revoked(world.database, [*users, *gone]) == gone
    world.change("tenants", world.tenants["acme"], status="disabled")
    assert revocations.revoked(world.database, users) == set(users)
    assert revocations.revoked(world.database, []) == set()
