"""The emulator of an upstream does what the model's name says, and its log tells all of it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.emulator.process import Emulator
from bench.emulator.replies import prompt_tokens
from bench.emulator.script import UnknownModel, read_script
from chatapi.upstream.tokens import count_text
from tests.support.http import event_lines, exchange_bytes


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator") / "served.jsonl") as running:
        yield running


def body_of(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Wie spät ist es?"}], **more}


def ask(emulator: Emulator, model: str, *, call: str = "call-1", **more: Any) -> httpx2.Response:
    with httpx2.Client(trust_env=False, timeout=10.0) as client:
        return client.post(
            f"{emulator.url}/chat/completions", json=body_of(model, **more), headers={"X-ChatAPI-Call-Id": call}
        )


def stream(emulator: Emulator, model: str, **more: Any) -> list[dict[str, Any]]:
    """The events of a stream that asks for usage; it must end in [DONE]."""
    *events, done = event_lines(ask(emulator, model, stream=True, stream_options={"include_usage": True}, **more).text)
    assert done == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for event in events for choice in event["choices"])


def ended(emulator: Emulator, call: str, patience_s: float = 5.0) -> dict[str, Any]:
    """The log's entry of how the call ended."""
    give_up_at = time.monotonic() + patience_s
    while True:
        found = [entry for entry in emulator.ended().values() if entry["call"] == call]
        if found:
            assert len(found) == 1
            return found[0]
        assert time.monotonic() < give_up_at, f"no entry of {call}: {emulator.entries()}"
        time.sleep(0.02)


def test_a_plain_reply_reports_the_usage_that_follows_from_the_request(emulator: Emulator) -> None:
    reply = ask(emulator, "gpt-4o-emu-events5", call="plain").json()
    message = reply["choices"][0]["message"]["content"]
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert count_text("gpt-4o", message) == count_text("gpt-4", message) == 5
    prompt = prompt_tokens(body_of(""))
    assert reply["usage"] == {"prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5}
    entry = ended(emulator, "plain")
    assert entry["id"] == reply["id"]
    assert (entry["how"], entry["status"], entry["stream"]) == ("served", 200, False)
    assert (entry["prompt_tokens"], entry["completion_tokens"], entry["produced_tokens"]) == (prompt, 5, 5)
    assert [seen["id"] for seen in emulator.arrived() if seen["call"] == "plain"] == [reply["id"]]


def test_a_stream_is_what_openai_would_send(emulator: Emulator) -> None:
    first, *middle, last, usage = stream(emulator, "gpt-4o-emu-events40", call="stream")
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert first["usage"] is None
    assert len(middle) == 40
    assert count_text("gpt-4o", text_of(middle)) == 40
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 40
    entry = ended(emulator, "stream")
    assert (entry["how"], entry["events"], entry["completion_tokens"]) == ("served", 40, 40)


@pytest.mark.parametrize("more", [{}, {"stream": True, "stream_options": {"include_usage": True}}])
def test_the_cap_of_a_request_is_never_exceeded(emulator: Emulator, more: dict[str, Any]) -> None:
    text = ask(emulator, "emu-events50-bytes25", max_completion_tokens=12, n=2, **more).text
    assert '"finish_reason":"length"' in text
    assert '"completion_tokens":24' in text
    assert sum(text.count(word) for word in (" time", " year", " work", " life", " hand", " part", " last")) == 2 * 7
    assert sum(text.count(word) for word in (" long", " same", " over", " such", " take")) == 2 * 5


def test_events_have_the_size_and_the_pace_that_are_asked_for(emulator: Emulator) -> None:
    began = time.monotonic()
    events = stream(emulator, "emu-delay100-events5-gap50-bytes100")
    assert 0.3 < time.monotonic() - began < 3
    assert [len(event["choices"][0]["delta"]["content"]) for event in events[1:6]] == [100] * 5
    assert events[-1]["usage"]["completion_tokens"] == 100


@pytest.mark.parametrize(
    ("model", "reported"),
    [("emu-nousage", []), ("emu-usage7-prompt3", [(3, 7)]), ("emu-early-events2", [(5, 2)]), ("emu", [(5, 10)])],
)
def test_usage_is_reported_as_the_name_says(emulator: Emulator, model: str, reported: list[tuple[int, int]]) -> None:
    usages = [event["usage"] for event in stream(emulator, model, call=model) if event.get("usage")]
    assert [(usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages] == reported
    assert ended(emulator, model)["completion_tokens"] == (reported[0][1] if reported else None)
    plain = ask(emulator, model).json().get("usage")
    assert [(plain["prompt_tokens"], plain["completion_tokens"])] == reported if reported else plain is None


def test_usage_is_not_reported_to_who_did_not_ask(emulator: Emulator) -> None:
    assert "usage" not in ask(emulator, "emu", stream=True).text


def test_a_stream_without_its_done(emulator: Emulator) -> None:
    last = event_lines(ask(emulator, "emu-nodone-early", stream=True).text)[-1]
    assert json.loads(last)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_comes_with_an_error_object_and_retry_after(emulator: Emulator, status: int) -> None:
    call = f"status-{status}"
    reply = ask(emulator, f"emu-status{status}-retry4", call=call)
    assert (reply.status_code, reply.headers["retry-after"]) == (status, "4")
    assert reply.json()["error"].keys() == {"message", "type", "param", "code"}
    assert (ended(emulator, call)["how"], ended(emulator, call)["status"]) == ("fault", status)


def test_a_name_that_makes_no_sense_is_refused(emulator: Emulator) -> None:
    reply = ask(emulator, "emu-evnts5")
    assert reply.status_code == 404
    assert "evnts5" in reply.json()["error"]["message"]
    with pytest.raises(UnknownModel):
        read_script("emu-hang3")
    assert read_script("gpt-4o-mini") == read_script("emu")


def test_a_connection_that_is_dropped_had_no_reply(emulator: Emulator) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(emulator, "emu-drop", call="drop")
    assert (ended(emulator, "drop")["how"], ended(emulator, "drop")["status"]) == ("fault", None)


@pytest.mark.parametrize("events", [0, 1, 7])
def test_a_stream_is_cut_after_as_many_events_as_the_name_says(emulator: Emulator, events: int) -> None:
    call = f"cut-{events}"
    received = exchange_bytes(emulator.url, request_bytes(f"emu-events20-cut{events}", call, stream=True))
    assert received.count(b'"content":" ') == events
    assert b"[DONE]" not in received and b"\r\n0\r\n" not in received
    entry = ended(emulator, call)
    assert (entry["how"], entry["events"], entry["produced_tokens"]) == ("cut", events, events)
    assert entry["completion_tokens"] is None


def test_a_plain_reply_is_cut_in_its_body(emulator: Emulator) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(emulator, "emu-cut3", call="cut-plain")
    assert ended(emulator, "cut-plain")["how"] == "cut"


@pytest.mark.parametrize(("model", "events"), [("emu-stall3", 3), ("emu-hang", 0), ("emu-gap50-events500", None)])
def test_a_client_that_leaves_is_noticed(emulator: Emulator, model: str, events: int | None) -> None:
    with opened(emulator, request_bytes(model, model, stream=True)) as connection:
        time.sleep(0.3)
        assert not [entry for entry in emulator.ended().values() if entry["call"] == model]
        connection.shutdown(socket.SHUT_WR)
    entry = ended(emulator, model)
    assert entry["how"] == "client_gone"
    assert entry["events"] == events if events is not None else 3 <= entry["events"] < 20


def test_slow_bytes_are_the_same_bytes(emulator: Emulator) -> None:
    began = time.monotonic()
    events = stream(emulator, "emu-events3-drip100-gap10", call="drip")
    assert time.monotonic() - began > 0.1
    assert len(text_of(events).split()) == 3
    assert ended(emulator, "drip")["events"] == 3


def test_requests_of_one_connection_are_answered_in_turn(emulator: Emulator) -> None:
    both = request_bytes("emu-delay50-events1", "turn-1") + request_bytes("emu-events2", "turn-2", close=True)
    with opened(emulator, both) as connection:
        received = b""
        while piece := connection.recv(65536):  # until it closes the connection, as it was asked to
            received += piece
    assert received.index(b'"completion_tokens":1') < received.index(b'"completion_tokens":2')


def test_a_client_that_does_not_read_is_waited_for(emulator: Emulator) -> None:
    with opened(emulator, request_bytes("emu-events50000-bytes500", "slow", stream=True)) as connection:
        time.sleep(0.5)
        assert not [entry for entry in emulator.ended().values() if entry["call"] == "slow"]
        received = 0
        while piece := connection.recv(1 << 20):
            received += len(piece)
            if piece.endswith(b"0\r\n\r\n"):
                break
    assert received > 50_000 * 500
    assert ended(emulator, "slow")["how"] == "served"


def test_what_a_killed_emulator_had_seen_is_in_its_log(tmp_path: Path) -> None:
    emulator = Emulator(tmp_path / "served.jsonl")
    with opened(emulator, request_bytes("emu-hang", "lost")):
        give_up_at = time.monotonic() + 5
        while not emulator.arrived() and time.monotonic() < give_up_at:
            time.sleep(0.01)
        emulator.kill()
    assert [entry["call"] for entry in emulator.arrived()] == ["lost"]
    assert emulator.ended() == {}


TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"properties": {"city": {"type": "string"}}}}}
    for name in ("look", "tell")
]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"city": {"type": "string"}}}}}


@pytest.mark.parametrize(
    ("choice", "name"), [("auto", "look"), ({"type": "function", "function": {"name": "tell"}}, "tell")]
)
def test_a_tool_that_is_offered_is_called(emulator: Emulator, choice: Any, name: str) -> None:
    more = {"tools": TOOLS, "tool_choice": choice}
    whole = ask(emulator, "emu-events3", call=f"tool-{name}", **more).json()["choices"][0]
    (called,) = whole["message"]["tool_calls"]
    assert (whole["finish_reason"], called["function"]["name"]) == ("tool_calls", name)
    assert json.loads(called["function"]["arguments"]) == {"city": " time year work"}
    assert ended(emulator, f"tool-{name}")["completion_tokens"] == 3
    first, *middle, last, usage = stream(emulator, "emu-events3", **more)
    assert first["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": name, "arguments": ""}
    pieces = [event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] for event in middle]
    assert pieces == ['{"city":" time', " year", ' work"}']
    assert last["choices"][0]["finish_reason"] == "tool_calls"
    assert usage["usage"]["completion_tokens"] == 3


def test_the_result_of_a_tool_is_answered_with_text(emulator: Emulator) -> None:
    messages = [*body_of("")["messages"], {"role": "tool", "tool_call_id": "x", "content": "noon"}]
    choice = ask(emulator, "emu-events2", messages=messages, tools=TOOLS).json()["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", " time year")


def test_a_schema_is_obeyed_unless_the_reply_is_cut_short(emulator: Emulator) -> None:
    assert text_of(stream(emulator, "emu-events2", response_format=SCHEMA)) == '{"city":" time year"}'
    assert text_of(stream(emulator, "emu", response_format=SCHEMA, max_tokens=2)) == '{"city":" time year'


@pytest.mark.parametrize(
    ("given", "vectors", "tokens"),
    [("Wie spät ist es?", 1, 5), (["a", "time flies"], 2, 4), ([7, 8, 9], 1, 3), ([[7, 8, 9], [1]], 2, 4)],
)
def test_embeddings_are_made_of_every_kind_of_input(emulator: Emulator, given: Any, vectors: int, tokens: int) -> None:
    call = f"embeddings-{vectors}-{tokens}"
    with httpx2.Client(trust_env=False, timeout=10.0, headers={"X-ChatAPI-Call-Id": call}) as client:
        numbers, text = (
            client.post(f"{emulator.url}/embeddings", json={"model": "emu", "input": given, **more}).json()
            for more in ({}, {"encoding_format": "base64"})
        )
    assert numbers["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert [len(one["embedding"]) for one in numbers["data"]] == [8] * vectors
    assert all(isinstance(one["embedding"], str) for one in text["data"])
    entry = next(entry for entry in emulator.ended().values() if entry["call"] == call)
    assert (entry["prompt_tokens"], entry["completion_tokens"], entry["produced_tokens"]) == (tokens, 0, 0)


def request_bytes(model: str, call: str, *, stream: bool = False, close: bool = False) -> bytes:
    content = json.dumps(body_of(model, stream=stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-ChatAPI-Call-Id: {call}\r\n"
    head += f"Content-Length: {len(content)}\r\n" + ("Connection: close\r\n" if close else "")
    return head.encode() + b"\r\n" + content


@contextmanager
def opened(emulator: Emulator, request: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", emulator.port), 10) as connection:
        connection.sendall(request)
        yield connection
