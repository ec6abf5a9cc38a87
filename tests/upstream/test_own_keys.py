"""Calls with a tenant's own key, by either way up: on its account alone; the key is struck out of what comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from chatapi.errors import UpstreamError
from chatapi.upstream.own_keys import OwnKey
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.upstream import Upstream
from tests.upstream.servers import BODY, CHAT, KEY, REPLY, Request, answering, error_object, response, serving
from tests.upstream.servers import upstream_at as calls_at

OWN = OwnKey("sealed", "a key that looks like nothing in particular".replace(" ", "+"))
ACCOUNT = ("authorization", "api-key", "openai-organization", "openai-project")
Ask = Callable[[Upstream, OwnKey | None], UpstreamReply]


def asked(upstream: Upstream, own: OwnKey | None) -> UpstreamReply:
    return upstream.complete(BODY, call_id="call-1", own=own)


def relayed(upstream: Upstream, own: OwnKey | None) -> UpstreamReply:
    parcel = Parcel(CHAT, "gpt-4o-mini", json.dumps(BODY).encode())
    return upstream.relay(parcel, call_id="call-1", own=own)


pytestmark = pytest.mark.parametrize("ask", [asked, relayed])


def accounts(requests: list[Request]) -> list[tuple[str | None, ...]]:
    return [tuple(request.headers.get(name) for name in ACCOUNT) for request in requests]


def test_it_is_sent_instead_of_ours_on_the_same_connection(ask: Ask) -> None:
    ours = {"openai_api_key": KEY, "openai_org_id": "org-ours", "openai_project_id": "proj-ours"}
    with serving(answering(200, REPLY)) as server, calls_at(server.base_url, **ours) as calls:
        for own in (None, OWN, None, OWN):
            ask(calls.upstream, own)
        assert (
            accounts(server.requests)
            == [
                (f"Bearer {KEY}", None, "org-ours", "proj-ours"),
                (f"Bearer {OWN.key}", None, None, None),
            ]
            * 2
        )
        assert server.connections == 1


def test_what_one_account_is_told_to_remember_no_other_sends_back(ask: Ask) -> None:
    with serving(answering(200, REPLY, "Set-Cookie: session=of-this-account; Path=/")) as server:
        with calls_at(server.base_url, openai_api_key=KEY) as calls:
            for own in (OWN, None, OWN):
                ask(calls.upstream, own)
        assert [request.headers.get("cookie") for request in server.requests] == [None] * 3


def test_azure_has_a_header_of_its_own_and_its_paths_stay(ask: Ask) -> None:
    with serving(answering(200, REPLY)) as server:
        ours = {"azure_openai_endpoint": f"http://127.0.0.1:{server.port}", "azure_openai_api_key": "azure-key"}
        with calls_at(None, **ours) as calls:
            for own in (None, OWN):
                ask(calls.upstream, own)
        assert accounts(server.requests) == [(None, "azure-key", None, None), (None, OWN.key, None, None)]
        assert server.requests[0].target == server.requests[1].target


def test_an_upstream_that_quotes_it_is_not_repeated(ask: Ask) -> None:
    """Nor with ours in it: each call strikes out the key that it was sent with."""

    def quoting(connection: socket.socket, request: Request) -> None:
        said = error_object(f"You sent {request.headers['authorization'].removeprefix('Bearer ')}, did you?")
        connection.sendall(response(400, json.dumps(said).encode()))

    with serving(quoting) as server, calls_at(server.base_url, openai_api_key=KEY) as calls:
        for own in (OWN, None):
            with pytest.raises(UpstreamError) as caught:
                ask(calls.upstream, own)
            assert "You sent ***, did you?" in caught.value.reason
            assert OWN.key not in repr(caught.value.body) and KEY not in repr(caught.value.body)
