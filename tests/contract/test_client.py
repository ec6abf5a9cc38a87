"""CONTRACT §6: `chatapi.client`, the Python client."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

from chatapi.client import Client
from tests.support.faults import FaultyUpstream, reply_to
from tests.support.gateway import Gateway
from tests.support.http import Http
from tests.support.routes import LIMIT_REACHED, WRONG_CREDENTIALS
from tests.support.users import PASSWORD

CHAT_DEFAULTS = {
    "messages": None, "settings": "", "max_tokens": 2000, "temperature": 1.0, "top_p": 0.1, "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}  # fmt: skip


@pytest.fixture
def client(gateway: Gateway) -> Client:
    return Client(gateway.base_url, gateway.users.take("many").name, PASSWORD)


def test_ask_exchanges_the_password_by_itself_and_returns_the_text(client: Client, marker: str) -> None:
    assert client.ask(f"{marker}?") == reply_to(f"{marker}?")
    assert client.ask("another") == reply_to("another")


def test_a_base_url_with_a_slash_at_its_end_is_as_good(gateway: Gateway) -> None:
    assert Client(gateway.base_url + "/", gateway.users.take().name, PASSWORD).ask("hello") == reply_to("hello")


def test_chat_has_the_documented_parameters_and_defaults() -> None:
    parameters = inspect.signature(Client.chat).parameters
    assert list(parameters)[:3] == ["self", "text", "messages"]
    assert {name: parameters[name].default for name in CHAT_DEFAULTS} == CHAT_DEFAULTS
    assert list(inspect.signature(Client).parameters)[:3] == ["base_url", "username", "password"]


def test_chat_yields_pieces_and_then_has_appended_both_sides(client: Client, marker: str) -> None:
    messages: list[dict[str, str]] = []
    reply = client.chat(marker, messages)
    assert isinstance(reply, Iterator)
    pieces = list(reply)
    assert len(pieces) > 1
    assert "".join(pieces) == reply_to(marker)
    assert messages == [
        {"role": "user", "content": marker}, {"role": "assistant", "content": reply_to(marker)},
    ]  # fmt: skip


def test_a_second_turn_sends_the_first(client: Client, faults: FaultyUpstream, marker: str) -> None:
    messages: list[dict[str, str]] = []
    list(client.chat(f"{marker}-1", messages))
    list(client.chat(f"{marker}-2", messages))
    (served,) = faults.about(f"{marker}-2")
    assert [message["content"] for message in served.body["messages"]] == [
        f"{marker}-1", reply_to(f"{marker}-1"), f"{marker}-2",
    ]  # fmt: skip
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2


def test_the_parameters_reach_the_upstream(client: Client, faults: FaultyUpstream, marker: str) -> None:
    settings = "You speak like a pirate."
    list(client.chat(marker, [], settings, 123, 0.7, 0.9, 0.4, -0.4))
    body = faults.about(marker)[0].body
    assert {name: body[name] for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")} == {
        "temperature": 0.7, "top_p": 0.9, "presence_penalty": 0.4, "frequency_penalty": -0.4,
    }  # fmt: skip
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 123
    assert body["stream"] is True
    assert body["messages"] == [{"role": "system", "content": settings}, {"role": "user", "content": marker}]


def test_the_defaults_reach_the_upstream(client: Client, faults: FaultyUpstream, marker: str) -> None:
    list(client.chat(marker))
    body = faults.about(marker)[0].body
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 2000
    assert (body["temperature"], body["top_p"]) == (1.0, 0.1)
    assert body["messages"] == [{"role": "user", "content": marker}]


def test_without_a_list_of_messages_nothing_is_shared_between_two_conversations(
    client: Client, faults: FaultyUpstream, marker: str
) -> None:
    list(client.chat("first"))
    list(client.chat(marker))
    assert len(faults.about(marker)[0].body["messages"]) == 1


@pytest.mark.parametrize("fault", ["cut", "status-500"])
def test_a_reply_that_failed_raises_and_appends_nothing(client: Client, fault: str) -> None:
    messages: list[dict[str, str]] = []
    with pytest.raises(Exception, match=r"\w"):
        list(client.chat(f"fault:{fault}", messages))
    assert not messages


def test_a_wrong_password_raises_with_the_gateways_message(gateway: Gateway) -> None:
    with pytest.raises(Exception, match=WRONG_CREDENTIALS):
        Client(gateway.base_url, gateway.users.take().name, "wrong").ask("hello")


def test_a_used_up_quota_raises_with_the_gateways_message(gateway: Gateway) -> None:
    with pytest.raises(Exception, match=LIMIT_REACHED):
        Client(gateway.base_url, gateway.users.take("none").name, PASSWORD).ask("hello")


def test_a_revoked_access_token_is_exchanged_anew(gateway: Gateway) -> None:
    user = gateway.users.take("many")
    client = Client(gateway.base_url, user.name, PASSWORD)
    assert client.ask("hello") == reply_to("hello")
    # The same password again: the access token ends, the credentials stay good.
    gateway.cli("users", "set-password", user.name, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert client.ask("hello") == reply_to("hello")
    assert "".join(client.chat("hello")) == reply_to("hello")


def test_the_client_imports_nothing_else_of_the_gateway() -> None:
    program = "import sys, chatapi.client; print(sorted(name for name in sys.modules if name.startswith('chatapi')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['chatapi', 'chatapi.client']"


def test_the_client_talks_to_nothing_but_the_contract(gateway: Gateway) -> None:
    # What the client needs is public: a client in another language gets as far with plain HTTP.
    http = Http(gateway.base_url)
    user = gateway.users.take()
    token = http.post("/token", json={"u": user.name, "p": PASSWORD}).json()["message"]["token"]
    assert http.get("/api", params={"q": "hi"}, access_token=token).json()["message"] == reply_to("hi")
    http.close()
