"""CONTRACT §4: `POST /chat`, the raw text of the reply, piece by piece."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.support.faults import SECRET, FaultyUpstream, reply_to
from tests.support.gateway import SHARED_SETTINGS, Gateway
from tests.support.http import exchange_bytes, raw_post
from tests.support.routes import CHAT, messages, refused_envelope

LONGEST_COMPLETION = 800
BROKEN_OFF = ["cut", "cut-clean", "error-event", "silent"]
LAST_CHUNK = b"0\r\n\r\n"


def test_the_body_is_the_raw_text_of_the_reply(gateway: Gateway, marker: str) -> None:
    answer = CHAT.ask(gateway, f"{marker} 日本語 🙂", gateway.somebody)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
    assert answer.content.decode() == reply_to(f"{marker} 日本語 🙂")


def test_a_whole_answer_ends_its_chunked_body(gateway: Gateway) -> None:
    received = exchange_bytes(
        gateway.base_url, raw_post("/chat", {"messages": messages("hello")}, access_token=gateway.somebody)
    )
    assert received.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in received.lower()
    assert received.endswith(LAST_CHUNK)


def test_pieces_are_sent_as_they_come(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    body = {"messages": messages(f"{marker} fault:slow")}
    with gateway.http.stream("/chat", json=body, access_token=gateway.somebody) as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        sent_before = faults.about(marker)[0].sent_pieces
        rest = b"".join(pieces)
    assert (first + rest).decode() == reply_to(f"{marker} fault:slow")
    assert sent_before < faults.about(marker)[0].sent_pieces - 1


def test_the_system_message_is_first_and_the_call_is_cool_and_capped(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    conversation = [
        {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, *messages(marker),
    ]  # fmt: skip
    answer = gateway.http.post("/chat", json={"messages": conversation}, access_token=gateway.somebody)
    assert answer.status_code == 200
    (served,) = faults.about(marker)
    system = {"role": "system", "content": SHARED_SETTINGS["CHATAPI_SYSTEM_MESSAGE"]}
    assert served.body["messages"] == [system, *conversation]
    assert served.body["temperature"] == 0
    assert served.body["stream"] is True
    assert served.body.get("max_tokens", served.body.get("max_completion_tokens")) == LONGEST_COMPLETION


@pytest.mark.parametrize(
    "fault", ["status-400", "status-401", "status-429", "status-500", "hang", "disconnect", "garbage"]
)
def test_when_the_upstream_fails_before_the_first_byte_the_status_says_so(gateway: Gateway, fault: str) -> None:
    answer = CHAT.ask(gateway, f"fault:{fault}", gateway.somebody)
    assert answer.status_code == 502
    refused_envelope(answer)
    assert SECRET not in answer.text


@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_an_answer_that_the_upstream_cut_does_not_look_whole(gateway: Gateway, fault: str) -> None:
    body = {"messages": messages(f"fault:{fault}")}
    received = exchange_bytes(gateway.base_url, raw_post("/chat", body, access_token=gateway.somebody))
    assert received.startswith(b"HTTP/1.1 200")
    assert b"You " in received
    assert b"data:" not in received
    assert not received.endswith(LAST_CHUNK)
    assert SECRET.encode() not in received


@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_http_clients_notice_that_an_answer_was_cut(gateway: Gateway, fault: str) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        CHAT.ask(gateway, f"fault:{fault}", gateway.somebody)


@pytest.mark.parametrize(
    "body",
    [
        {}, {"messages": None}, {"messages": "hello"}, {"messages": []}, {"messages": ["hello"]}, {"messages": [{}]},
        {"messages": {"role": "user", "content": "hello"}}, {"messages": [{"role": "user"}]},
        {"messages": [{"content": "hello"}]}, {"messages": [{"role": "user", "content": 1}]},
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_with_a_reason(gateway: Gateway, body: Any) -> None:
    answer = gateway.http.post("/chat", json=body, access_token=gateway.somebody)
    assert answer.status_code == 400
    refused_envelope(answer)


def test_without_an_access_token_it_is_refused(gateway: Gateway) -> None:
    answer = CHAT.ask(gateway, "hello", None)
    assert answer.status_code == 401
    refused_envelope(answer)


@pytest.mark.usefixtures("far_from_midnight")
def test_a_streamed_answer_counts_once_and_the_quota_denies_before_the_stream(gateway: Gateway) -> None:
    token = gateway.sign_in("one")
    assert CHAT.ask(gateway, "hello", token).status_code == 200
    denied = CHAT.ask(gateway, "hello", token)
    assert denied.status_code == 429
    assert int(denied.headers["retry-after"]) > 0
    refused_envelope(denied)


@pytest.mark.usefixtures("far_from_midnight")
def test_a_stream_that_never_began_does_not_count(gateway: Gateway) -> None:
    token = gateway.sign_in("one")
    for fault in ("status-500", "disconnect", "status-400"):
        assert CHAT.ask(gateway, f"fault:{fault}", token).status_code == 502
    assert CHAT.ask(gateway, "hello", token).status_code == 200
