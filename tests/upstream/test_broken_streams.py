"""Streams that fall silent, break off or go wrong, by real servers, and the errors that they become."""

from __future__ import annotations

import socket
import time

import pytest

from chatapi.errors import (
    UpstreamBroken,
    UpstreamTimeout,
)
from chatapi.upstream.keep_alive import REST_S
from tests.upstream.servers import (
    BODY,
    END,
    KEY,
    REPLY,
    STREAM_HEAD,
    Request,
    answering,
    chunk,
    delta,
    event,
    failure,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")


def test_silence_in_the_middle_of_a_stream_is_noticed_by_the_idle_timeout() -> None:
    error = failure(streaming(event(delta("He")), 0.6), stream=True, idle_timeout_s=0.2)
    assert type(error) is UpstreamTimeout
    assert error.may_have_run


def test_the_first_byte_may_take_longer_than_the_idle_timeout() -> None:
    script = streaming(0.8, event(delta("Hi", "stop")), event(b"[DONE]"), END)
    timeouts = {"idle_timeout_s": 0.5, "first_byte_timeout_s": 4}
    with serving(script) as server, upstream_at(server.base_url, **timeouts) as upstream:
        assert "".join(e.text for e in upstream.open(BODY, call_id="call-1")) == "Hi"


def test_between_chunks_the_idle_timeout_holds_and_not_the_first_bytes() -> None:
    script = streaming(event(delta("H")), 0.9, event(delta("i", "stop")), event(b"[DONE]"), END)
    timeouts = {"idle_timeout_s": 4, "first_byte_timeout_s": 0.6}
    with serving(script) as server, upstream_at(server.base_url, **timeouts) as upstream:
        assert "".join(e.text for e in upstream.open(BODY, call_id="call-1")) == "Hi"


def test_the_timeouts_of_one_call_do_not_stay_with_the_connection() -> None:
    whole = streaming(event(delta("Hi", "stop")), event(b"[DONE]"), END)

    def script(connection: socket.socket, request: Request) -> None:
        if len(server.requests) > 1:
            time.sleep(0.8)
        whole(connection, request)

    timeouts = {"idle_timeout_s": 0.5, "first_byte_timeout_s": 4}
    with serving(script) as server, upstream_at(server.base_url, **timeouts) as upstream:
        for _ in range(2):
            assert "".join(e.text for e in upstream.open(BODY, call_id="call-1")) == "Hi"
            time.sleep(REST_S)
        assert server.connections == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_trickle_does_not_outlive_the_calls_deadline(stream: bool) -> None:
    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(STREAM_HEAD)
        for _ in range(30):
            connection.sendall(chunk(b": ping\n\n"))
            time.sleep(0.05)

    began = time.monotonic()
    error = failure(script, stream=stream, call_deadline_s=0.3)
    assert type(error) is UpstreamTimeout
    assert error.may_have_run
    assert time.monotonic() - began < 3


def test_neither_does_a_torrent() -> None:
    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(STREAM_HEAD)
        for _ in range(2000):
            connection.sendall(event(delta("He")))
            time.sleep(0.0005)

    began = time.monotonic()
    error = failure(script, stream=True, call_deadline_s=0.3)
    assert type(error) is UpstreamTimeout
    assert time.monotonic() - began < 0.8


@pytest.mark.parametrize(
    "pieces",
    [
        [event(delta("He"))],
        [event(delta("He")), b"5\r\nda"],
        [event(delta("He")), END],
        [event(delta("He", "stop")), event(delta("Ho", index=1)), END],
        [END],
        [chunk(b'data: {"choices": [{"index": 0, "delta": {"con'), END],
    ],
)
def test_a_stream_that_ends_before_its_finish_reason_is_broken(pieces: list[bytes]) -> None:
    error = failure(streaming(*pieces, hang_up=True), stream=True)
    assert type(error) is UpstreamBroken
    assert error.may_have_run


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([event(delta("He")), event(delta(None, "stop")), END], "He"),
        ([event(delta("He", "stop"))], "He"),
        ([event(delta("He")), chunk(b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}'), END], "He"),
        ([event(delta("He", "length")), event(delta("Ho", "stop", index=1)), END], "He"),
        ([event(delta("He", "stop")), chunk(b"data: [DONE]"), END], "He"),
    ],
)
def test_a_stream_without_done_is_whole_once_every_choice_has_finished(pieces: list[bytes], text: str) -> None:
    with serving(streaming(*pieces, hang_up=True)) as server, upstream_at(server.base_url) as upstream:
        assert "".join(e.text for e in upstream.open(BODY, call_id="call-1")) == text


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"error": {"message": "The model %s fell over.", "type": "server_error"}}\n\n' % KEY.encode(),
        b'event: error\ndata: {"message": "The model %s fell over."}\n\n' % KEY.encode(),
        b'data: {"error": "The model %s fell over."}\n\n' % KEY.encode(),
    ],
)
def test_an_error_event_breaks_the_stream_with_its_reason(data: bytes) -> None:
    error = failure(streaming(event(delta("He")), chunk(data), event(b"[DONE]"), END), stream=True)
    assert type(error) is UpstreamBroken
    assert error.may_have_run
    assert error.reason == "the upstream ended with an error: The model *** fell over."


@pytest.mark.parametrize("data", [b"garbage", b"[1]", b"7", b'{"choices": ['])
def test_an_event_that_makes_no_sense_breaks_the_stream(data: bytes) -> None:
    error = failure(streaming(event(delta("He")), event(data), event(b"[DONE]"), END), stream=True)
    assert type(error) is UpstreamBroken


def test_a_whole_reply_to_a_stream_is_broken() -> None:
    error = failure(answering(200, REPLY), stream=True)
    assert type(error) is UpstreamBroken
    assert error.reason == "the upstream did not answer with a stream"
