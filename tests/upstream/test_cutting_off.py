"""Calls and streams that are ended from here, and what that does to the connections they used."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from chatapi.errors import UpstreamBroken, UpstreamRateLimited, UpstreamUnreachable
from chatapi.upstream.keep_alive import REST_S
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    Request,
    answering,
    delta,
    event,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")

HELLO = [event(delta("Hel")), event(delta("lo", "stop")), event(b"[DONE]"), END]


def test_a_stream_left_at_done_gives_its_connection_back_when_it_is_closed() -> None:
    with serving(streaming(*HELLO)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(2):
            stream = upstream.open(BODY, call_id="call-1")
            while not stream.stream.done:
                next(iter(stream))
            stream.close()
            time.sleep(REST_S)
        assert server.connections == 1


def test_an_upstream_that_stays_open_after_done_does_not_hold_the_stream() -> None:
    with serving(streaming(*HELLO[:-1], 1.0)) as server, upstream_at(server.base_url) as upstream:
        began = time.monotonic()
        assert "".join(e.text for e in upstream.open(BODY, call_id="call-1")) == "Hello"
        assert time.monotonic() - began < 0.9


def test_closing_from_another_thread_ends_a_blocked_iteration_at_once() -> None:
    with serving(streaming(event(delta("He")), 1.5)) as server, upstream_at(server.base_url) as upstream:
        stream = upstream.open(BODY, call_id="call-1")
        closer = threading.Timer(0.1, stream.close)
        began = time.monotonic()
        closer.start()
        with pytest.raises(UpstreamBroken, match="cut off here"):
            list(stream)
        assert time.monotonic() - began < 1
        closer.join()
        stream.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_waits_for_its_answer_can_be_cut_off(stream: bool) -> None:
    def cancel_soon(cancel: Callable[[], None]) -> None:
        timers.append(threading.Timer(0.1, cancel))
        timers[0].start()

    timers: list[threading.Timer] = []
    with serving(lambda _connection, _request: time.sleep(1)) as server, upstream_at(server.base_url) as upstream:
        upstream.warm_up()
        began = time.monotonic()
        with pytest.raises(UpstreamBroken, match="cut off here"):
            (upstream.open if stream else upstream.complete)(BODY, call_id="call-1", on_cancel=cancel_soon)
        assert time.monotonic() - began < 0.8
        timers[0].join()


def test_a_whole_reply_that_trickles_can_be_cut_off() -> None:
    def trickle(connection: socket.socket, _request: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        time.sleep(1)

    cancels: list[Callable[[], None]] = []
    with serving(trickle) as server, upstream_at(server.base_url) as upstream:
        timer = threading.Timer(0.3, lambda: [cancel() for cancel in cancels])
        timer.start()
        began = time.monotonic()
        with pytest.raises(UpstreamBroken, match="cut off here"):
            upstream.complete(BODY, call_id="call-1", on_cancel=cancels.append)
        assert time.monotonic() - began < 0.9
        timer.join()


def test_a_refusal_that_stalls_can_be_cut_off_and_is_one_all_the_same() -> None:
    def stall(connection: socket.socket, _request: Request) -> None:
        connection.sendall(b"HTTP/1.1 429 Reason\r\nContent-Length: 1000\r\n\r\n{")
        connection.recv(1)

    cancels: list[Callable[[], None]] = []
    with serving(stall) as server, upstream_at(server.base_url) as upstream:
        upstream.warm_up()
        timer = threading.Timer(0.2, lambda: [cancel() for cancel in cancels])
        timer.start()
        began = time.monotonic()
        with pytest.raises(UpstreamRateLimited) as caught:
            upstream.complete(BODY, call_id="call-1", on_cancel=cancels.append)
        assert time.monotonic() - began < 0.8
        timer.join()
    assert not caught.value.may_have_run


def test_a_call_cut_off_before_it_is_sent_never_ran() -> None:
    with serving(answering(200, REPLY)) as server, upstream_at(server.base_url) as upstream:
        with pytest.raises(UpstreamUnreachable) as caught:
            upstream.complete(BODY, call_id="call-1", on_cancel=lambda cancel: cancel())
        assert not server.requests
    assert not caught.value.may_have_run


def test_cutting_off_a_call_that_is_over_harms_no_other() -> None:
    def script(connection: socket.socket, request: Request) -> None:
        answering(200 if len(server.requests) % 2 else 429, REPLY)(connection, request)

    cancels: list[Callable[[], None]] = []
    with serving(script) as server, upstream_at(server.base_url) as upstream:
        for _ in range(2):
            assert upstream.complete(BODY, call_id="call-1", on_cancel=cancels.append).text == "Hi."
            with pytest.raises(UpstreamRateLimited):
                upstream.complete(BODY, call_id="call-2", on_cancel=cancels.append)
            for cancel in cancels:
                cancel()
        assert server.connections == 1


def test_a_stream_closed_before_or_amid_its_events_is_never_taken_for_whole() -> None:
    with serving(streaming(*HELLO)) as server, upstream_at(server.base_url) as upstream:
        unread = upstream.open(BODY, call_id="call-1")
        begun = upstream.open(BODY, call_id="call-2")
        assert next(iter(begun)).text == "Hel"
        for stream in (unread, begun):
            stream.close()
            stream.close()
        with pytest.raises(UpstreamBroken):
            list(unread)


def test_closing_many_streams_while_they_are_read_leaves_the_others_whole() -> None:
    words: list[bytes | float] = [event(delta("x")), 0.01]
    pieces = [*words * 10, event(delta("", "stop")), event(b"[DONE]"), END]
    texts: list[str] = []
    with serving(streaming(*pieces)) as server, upstream_at(server.base_url) as upstream:

        def read(number: int) -> None:
            for round_number in range(3):
                stream = upstream.open(BODY, call_id="call-1")
                if (number + round_number) % 2:
                    timer = threading.Timer(0.05, stream.close)
                    timer.start()
                    with pytest.raises(UpstreamBroken):
                        list(stream)
                    timer.join()
                else:
                    texts.append("".join(e.text for e in stream))

        readers = [threading.Thread(target=read, args=(number,)) for number in range(8)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert texts == ["x" * 10] * 12
