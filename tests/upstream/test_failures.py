"""Every way in which an upstream can fail, by a real server that fails so, and the domain error that it becomes."""

from __future__ import annotations

import socket
import time
from email.utils import formatdate

import pytest

from chatapi.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from tests.upstream.servers import (
    BODY,
    END,
    KEY,
    REPLY,
    Request,
    Script,
    answering,
    error_object,
    event,
    failure,
    response,
    sending,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, UpstreamFailed),
        (400, UpstreamRefused),
        (404, UpstreamRefused),
        (408, UpstreamFailed),
        (409, UpstreamFailed),
        (413, UpstreamRefused),
        (422, UpstreamRefused),
        (429, UpstreamRateLimited),
        (500, UpstreamFailed),
        (503, UpstreamFailed),
    ],
)
def test_a_status_becomes_its_error_and_the_model_did_not_run(
    status: int, kind: type[UpstreamError], stream: bool
) -> None:
    script = answering(status, error_object("Something is wrong."), "Location: http://127.0.0.1:1/")
    error = failure(script, stream=stream)
    assert type(error) is kind
    assert error.status == status
    assert not error.may_have_run
    assert error.reason == f"the upstream answered {status}: Something is wrong."
    assert error.body == {
        "message": "Something is wrong.",
        "type": "some_error",
        "param": "messages",
        "code": "some_code",
    }


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_not_repeated(status: int) -> None:
    error = failure(answering(status, error_object(f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}.")))
    assert type(error) is UpstreamRefused
    assert error.status == status
    assert error.body is None
    assert error.reason == "the upstream refused this gateway's credentials"


@pytest.mark.parametrize("status", [200, 400, None])
def test_the_gateways_own_key_is_struck_out_whatever_it_looks_like(status: int | None) -> None:
    message = error_object("What is this opensesame?")
    script = answering(status, message) if status else streaming(event(message), END)
    error = failure(script, stream=status is None, openai_api_key="opensesame")
    assert "What is this ***?" in str(error)
    assert "opensesame" not in str(error.body)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("Retry-After: 7", 7, 7),
        ("Retry-After: 0.2", 1, 1),
        ("retry-after-ms: 2500", 3, 3),
        ("Retry-After: IN_TEN_MINUTES", 570, 600),
        ("Retry-After: 99999999", 86400, 86400),
        ("Retry-After: soon", None, None),
        ("Retry-After: nan", None, None),
        ("X-Nothing: 1", None, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(header: str, least: int | None, most: int | None) -> None:
    header = header.replace("IN_TEN_MINUTES", formatdate(time.time() + 600, usegmt=True))
    error = failure(answering(429, error_object("Slow down."), header))
    if least is None or most is None:
        assert error.retry_after_s is None
    else:
        assert error.retry_after_s is not None
        assert least <= error.retry_after_s <= most


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", b"[1]", b'{"error": {"message": 7}}', b"\xff"])
def test_an_error_without_a_sensible_body_still_has_its_status(body: bytes) -> None:
    error = failure(answering(502, body))
    assert type(error) is UpstreamFailed
    assert error.status == 502
    assert "<" not in error.reason


def stalling(connection: socket.socket, _request: Request) -> None:
    connection.recv(1)


def trickling(connection: socket.socket, _request: Request) -> None:
    for _ in range(50):
        connection.sendall(b" ")
        time.sleep(0.05)


def hang_up(connection: socket.socket, _request: Request) -> None:
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("then", [stalling, trickling, hang_up])
@pytest.mark.parametrize(
    ("status", "kind"), [(400, UpstreamRefused), (429, UpstreamRateLimited), (500, UpstreamFailed)]
)
def test_a_refusal_is_one_also_if_its_body_never_ends(
    status: int, kind: type[UpstreamError], then: Script, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(connection: socket.socket, request: Request) -> None:
        connection.sendall(response(status, b" " * 1000, "Retry-After: 7")[:-900])
        then(connection, request)

    monkeypatch.setattr("chatapi.upstream.refusal.LONGEST_REFUSAL_S", 0.2)
    began = time.monotonic()
    error = failure(script, stream=stream)
    assert time.monotonic() - began < 2
    assert type(error) is kind
    assert (error.status, error.retry_after_s, error.may_have_run) == (status, 7, False)


def test_a_refusal_is_one_also_if_its_body_cannot_be_decoded() -> None:
    error = failure(answering(429, b"this is not gzip at all", "Content-Encoding: gzip"))
    assert type(error) is UpstreamRateLimited
    assert not error.may_have_run


def test_what_a_proxy_says_in_plain_text_is_told() -> None:
    error = failure(sending(response(503, b"No healthy upstream.", media_type="text/plain")))
    assert error.reason == "the upstream answered 503: No healthy upstream."


@pytest.mark.parametrize("field", ["error", "message", "detail"])
def test_error_shapes_of_compatible_servers_are_understood(field: str) -> None:
    error = failure(answering(400, {field: "It is broken."}))
    assert error.body is not None
    assert error.body["message"] == "It is broken."


def test_a_numeric_code_becomes_text() -> None:
    error = failure(answering(400, error_object("No.", code=400, type=None)))
    assert error.body == {"message": "No.", "type": None, "param": "messages", "code": "400"}


def test_a_refused_connection_never_ran() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with upstream_at(f"http://127.0.0.1:{port}/v1") as upstream, pytest.raises(UpstreamUnreachable) as caught:
        upstream.complete(BODY, call_id="call-1")
    assert not caught.value.may_have_run


def test_an_unknown_host_never_ran() -> None:
    with upstream_at("http://upstream.invalid/v1") as upstream, pytest.raises(UpstreamUnreachable) as caught:
        upstream.complete(BODY, call_id="call-1")
    assert not caught.value.may_have_run
    assert "upstream.invalid" not in str(caught.value)


def test_a_server_that_speaks_no_tls_never_ran() -> None:
    with serving(answering(200, REPLY)) as server:
        base_url = server.base_url.replace("http:", "https:")
        with upstream_at(base_url) as upstream, pytest.raises(UpstreamUnreachable) as caught:
            upstream.complete(BODY, call_id="call-1")
    assert not caught.value.may_have_run


def test_a_connection_that_takes_too_long_never_ran() -> None:
    # A full backlog: the kernel drops further SYNs, so connecting hangs.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            time.sleep(0.05)
            with upstream_at(f"http://127.0.0.1:{address[1]}/v1", connect_timeout_s=0.2) as upstream:
                began = time.monotonic()
                with pytest.raises(UpstreamUnreachable) as caught:
                    upstream.complete(BODY, call_id="call-1")
                assert time.monotonic() - began < 2
        finally:
            for filler in fillers:
                filler.close()
    assert not caught.value.may_have_run


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_server_may_have_run(stream: bool) -> None:
    began = time.monotonic()
    error = failure(lambda _connection, _request: time.sleep(0.6), stream=stream, first_byte_timeout_s=0.2)
    assert type(error) is UpstreamTimeout
    assert error.may_have_run
    assert time.monotonic() - began < 2


def half_a_reply(connection: socket.socket, _request: Request) -> None:
    connection.sendall(response(200, b'{"choices": ' + b" " * 100)[:-50])
    connection.shutdown(socket.SHUT_RDWR)


def half_a_head(connection: socket.socket, _request: Request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-")
    connection.shutdown(socket.SHUT_RDWR)


def no_http(connection: socket.socket, _request: Request) -> None:
    connection.sendall(b"SSH-2.0-something\r\n\r\n")
    connection.shutdown(socket.SHUT_RDWR)


def bad_gzip(connection: socket.socket, _request: Request) -> None:
    connection.sendall(response(200, b"this is not gzip at all", "Content-Encoding: gzip"))


@pytest.mark.parametrize("script", [hang_up, half_a_reply, half_a_head, no_http, bad_gzip])
def test_an_answer_that_breaks_off_may_have_run(script: Script) -> None:
    error = failure(script)
    assert type(error) is UpstreamBroken
    assert error.may_have_run


@pytest.mark.parametrize("body", [b"garbage", b"", b"[]", b'"text"', b"{}", b'{"choices": []}', b"[" * 100_000])
def test_a_reply_that_makes_no_sense_has_run(body: bytes) -> None:
    error = failure(answering(200, body))
    assert type(error) is UpstreamBroken
    assert error.may_have_run


def test_an_error_with_status_200_is_an_error() -> None:
    error = failure(answering(200, error_object(f"The key {KEY} is tired.")))
    assert type(error) is UpstreamBroken
    assert error.reason == "the upstream ended with an error: The key *** is tired."


@pytest.mark.parametrize(
    "secret",
    [KEY, f"Bearer {KEY}", "org-AbCdEfGhIjKl", "proj_AbCdEfGhIjKl", "http://user:secret@example.com/", "0f" * 16],
)
def test_secrets_in_an_upstreams_message_are_struck_out(secret: str) -> None:
    error = failure(answering(429, error_object(f"Limit reached for {secret} today.")))
    assert error.body is not None
    for shown in (str(error), error.body["message"]):
        assert isinstance(shown, str)
        assert "Limit reached for" in shown
        assert "today." in shown
        assert "***" in shown
        assert "secret" not in shown
        assert secret not in shown
