"""Connections to upstreams: kept, lost, encrypted, large, slow and odd, by either transport."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chatapi.errors import UpstreamBroken, UpstreamRefused, UpstreamUnreachable
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    Request,
    ScriptedServer,
    answering,
    chunk,
    delta,
    error_object,
    event,
    read_request,
    response,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")
CONTENT = json.dumps(REPLY).encode()
LONG = {**REPLY, "padding": "x" * 3_000_000}


def test_many_calls_use_one_connection() -> None:
    with serving(answering(200, REPLY)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(5):
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
        assert server.connections == 1


def test_refused_calls_keep_the_connection() -> None:
    with serving(answering(400, error_object("No."))) as server, upstream_at(server.base_url) as upstream:
        for _ in range(3):
            with pytest.raises(UpstreamRefused):
                upstream.complete(BODY, call_id="call-1")
        assert server.connections == 1


def test_a_request_that_was_read_and_not_answered_is_not_sent_again() -> None:
    def script(connection: socket.socket, request: Request) -> None:
        if len(server.requests) > 1:
            raise OSError("it dies over this one")
        answering(200, REPLY)(connection, request)

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        upstream.complete(BODY, call_id="call-1")
        with pytest.raises(UpstreamBroken) as caught:
            upstream.complete(BODY, call_id="call-2")
        assert caught.value.may_have_run
        assert [request.headers["x-chatapi-call-id"] for request in server.requests] == ["call-1", "call-2"]


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def test_a_large_reply_comes_whole_with_a_length_in_chunks_and_without_either() -> None:
    content = json.dumps(LONG).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    ways = [
        [response(200, content)],
        [head + b"Transfer-Encoding: chunked\r\n\r\n", *map(chunk, pieces(content, 70_001)), END],
        [head + b"Connection: close\r\n\r\n", *pieces(content, 100_000)],
    ]

    def script(connection: socket.socket, _request: Request) -> None:
        for piece in ways[len(server.requests) - 1]:
            connection.sendall(piece)
        if len(server.requests) == len(ways):
            connection.shutdown(socket.SHUT_RDWR)

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        for _ in ways:
            assert upstream.complete(BODY, call_id="call-1").body == content


def test_a_reply_may_come_byte_by_byte_behind_interim_ones() -> None:
    whole = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nx-request-id: not-this\r\n\r\n"
    whole += response(200, CONTENT, "X-Nothing:", "x-request-id: req_7")

    def script(connection: socket.socket, _request: Request) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in pieces(whole, 1):
            connection.sendall(byte)

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        for _ in range(2):
            reply = upstream.complete(BODY, call_id="call-1")
            assert (reply.text, reply.upstream_id) == ("Hi.", "req_7")
        assert server.connections == 1


@pytest.mark.parametrize("stream", [False, True])
def test_what_comes_compressed_is_read_all_the_same(stream: bool) -> None:
    events = b"".join(
        b"data: " + (json.dumps(said).encode() if isinstance(said, dict) else said) + b"\n\n"
        for said in (delta("Hi."), delta(None, "stop"), b"[DONE]")
    )
    packed = gzip.compress(events if stream else CONTENT)
    media_type = "text/event-stream" if stream else "application/json"
    whole = response(200, packed, "Content-Encoding: gzip", media_type=media_type)

    def script(connection: socket.socket, _request: Request) -> None:
        for piece in pieces(whole, 50):
            connection.sendall(piece)

    with serving(script) as server, upstream_at(server.base_url) as upstream:
        if stream:
            assert "".join(event.text for event in upstream.open(BODY, call_id="call-1")) == "Hi."
        else:
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."


def test_a_large_request_is_sent_whole() -> None:
    body = {**BODY, "messages": [{"role": "user", "content": "é" * 2_000_000}]}
    with serving(answering(200, REPLY)) as server, upstream_at(server.base_url) as upstream:
        upstream.complete(body, call_id="call-1")
        assert json.loads(server.requests[0].body) == body


def test_an_upstream_that_refuses_before_it_has_read_all_is_heard() -> None:
    def accept() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(response(413, json.dumps(error_object("Too much.")).encode()))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    body = {**BODY, "messages": [{"role": "user", "content": "x" * 2_000_000}]}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=accept)
        server.start()
        port = listener.getsockname()[1]
        with upstream_at(f"http://127.0.0.1:{port}/v1") as upstream, pytest.raises(UpstreamRefused) as caught:
            upstream.complete(body, call_id="call-1")
        server.join(5)
    assert caught.value.status == 413


def test_an_upstream_may_have_an_address_of_version_6() -> None:
    def accept() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            request = read_request(stream.readline, stream.read)
            assert request is not None
            hosts.append(request.headers["host"])
            answering(200, REPLY)(connection, request)

    hosts: list[str] = []
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        server = threading.Thread(target=accept)
        server.start()
        port = listener.getsockname()[1]
        with upstream_at(f"http://[::1]:{port}/v1") as upstream:
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
        server.join(5)
    assert hosts == [f"[::1]:{port}"]


@contextmanager
def tls_server(folder: Path, name: str) -> Iterator[tuple[int, Path, list[Request]]]:
    """A server that answers over TLS as `name`, its own certificate authority."""
    certificate = folder / f"{name}.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", *subject]
    certificate.write_bytes(subprocess.run(make, check=True, capture_output=True).stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    requests: list[Request] = []

    def serve(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as secure, secure.makefile("rb") as stream:
                while (request := read_request(stream.readline, stream.read)) is not None:
                    requests.append(request)
                    is_stream = b'"stream":true' in request.body.replace(b" ", b"")
                    (
                        streaming(event(delta("Hi.", "stop")), event(b"[DONE]"), END)
                        if is_stream
                        else answering(200, LONG)
                    )(secure, request)
        except OSError:
            pass

    plain = ScriptedServer(lambda _connection, _request: None)
    plain._serve = serve  # type: ignore[method-assign]
    try:
        yield plain.port, certificate, requests
    finally:
        plain.close()


def test_tls_is_verified_and_its_connections_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path, "localhost") as (port, certificate, requests):
        with upstream_at(f"https://localhost:{port}/v1") as upstream, pytest.raises(UpstreamUnreachable) as caught:
            upstream.complete(BODY, call_id="call-1")
        assert not caught.value.may_have_run
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with upstream_at(f"https://localhost:{port}/v1") as upstream:
            for _ in range(2):
                assert len(upstream.complete(BODY, call_id="call-2").body) > 3_000_000
                assert "".join(e.text for e in upstream.open(BODY, call_id="call-3")) == "Hi."
        with upstream_at(f"https://127.0.0.1:{port}/v1") as upstream, pytest.raises(UpstreamUnreachable):
            upstream.complete(BODY, call_id="call-4")  # the certificate is not of this name
    assert [request.headers["x-chatapi-call-id"] for request in requests] == ["call-2", "call-3"] * 2


def test_a_head_without_end_is_refused() -> None:
    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(20_000):
            connection.sendall(b"X-More: and more of it, without an end\r\n")

    with serving(script) as server, upstream_at(server.base_url) as upstream, pytest.raises(UpstreamBroken):
        upstream.complete(BODY, call_id="call-1")
