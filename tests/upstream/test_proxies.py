"""The way to an upstream through a proxy, or past it, with real proxies."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from chatapi.errors import UpstreamBroken, UpstreamUnreachable
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    Request,
    ScriptedServer,
    answering,
    delta,
    event,
    read_request,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")

HELLO = [event(delta("Hel")), event(delta("lo", "stop")), event(b"[DONE]"), END]


def tunnel(port: int, authority: bytes) -> ScriptedServer:
    """A real CONNECT proxy that leads every authority to the one port of this machine."""

    def script(connection: socket.socket, request: Request) -> None:
        assert request.method == "CONNECT"
        assert request.target.encode() == authority
        with socket.create_connection(("127.0.0.1", port)) as onward:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=copy, args=(onward, connection))
            back.start()
            copy(connection, onward)
            back.join()
        raise OSError("the tunnel has ended")

    return ScriptedServer(script)


def copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve_tls(listener: socket.socket, certificate: Path, requests: list[Request]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    connection, _ = listener.accept()
    with context.wrap_socket(connection, server_side=True) as secure, secure.makefile("rb") as stream:
        while (request := read_request(stream.readline, stream.read)) is not None:
            requests.append(request)
            if b'"stream":true' in request.body:
                streaming(event(delta("Hel")))(secure, request)
                secure.recv(1)  # silent, until the client goes away
                return
            answering(200, REPLY)(secure, request)


def test_https_goes_through_the_proxy_in_a_tunnel_and_can_be_cut_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "upstream.pem"
    subject = ["-subj", "/CN=upstream.test", "-addext", "subjectAltName=DNS:upstream.test", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", *subject]
    certificate.write_bytes(subprocess.run(make, check=True, capture_output=True).stdout)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    requests: list[Request] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_tls, args=(listener, certificate, requests))
        server.start()
        proxy = tunnel(listener.getsockname()[1], b"upstream.test:443")
        try:
            settings = {"https_proxy": f"http://us:pw@127.0.0.1:{proxy.port}", "openai_api_key": "key-7"}
            with upstream_at("https://upstream.test/v1", **settings) as upstream:
                assert upstream.complete(BODY, call_id="call-7").text == "Hi."
                stream = upstream.open(BODY, call_id="call-8")
                closer = threading.Timer(0.1, stream.close)
                closer.start()
                began = time.monotonic()
                with pytest.raises(UpstreamBroken):
                    list(stream)
                assert time.monotonic() - began < 2
                closer.join()
            server.join(5)
        finally:
            proxy.close()
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in proxy.requests[0].headers
    assert [request.headers["x-chatapi-call-id"] for request in requests] == ["call-7", "call-8"]


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses_never_ran_the_call(status: int) -> None:
    with serving(answering(status, {})) as proxy:
        settings = {"https_proxy": f"http://us:pw@127.0.0.1:{proxy.port}"}
        expected = pytest.raises(UpstreamUnreachable)
        with upstream_at("https://upstream.test/v1", **settings) as upstream, expected as caught:
            upstream.complete(BODY, call_id="call-1")
    assert not caught.value.may_have_run
    assert "pw" not in str(caught.value)


def test_a_proxy_that_hangs_up_or_is_silent_never_ran_the_call() -> None:
    for script in (lambda c, _r: c.shutdown(socket.SHUT_RDWR), lambda _c, _r: time.sleep(0.4)):
        with serving(script) as proxy:
            settings = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "first_byte_timeout_s": 0.2}
            expected = pytest.raises(UpstreamUnreachable)
            with upstream_at("https://upstream.test/v1", **settings) as upstream, expected as caught:
                upstream.complete(BODY, call_id="call-1")
        assert not caught.value.may_have_run


def test_http_goes_through_the_environments_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(200, REPLY)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with upstream_at("http://upstream.test:8000/v1") as upstream:
            assert upstream.complete(BODY, call_id="call-1").text == "Hi."
    assert proxy.requests[0].target == "http://upstream.test:8000/v1/chat/completions"


@pytest.mark.parametrize("no_proxy", ["*", "upstream.invalid", ".invalid", "x.test, invalid", "upstream.invalid:443"])
def test_no_proxy_names_hosts_that_are_reached_directly(no_proxy: str) -> None:
    with serving(answering(502, {})) as proxy:
        settings = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "no_proxy": no_proxy}
        expected = pytest.raises(UpstreamUnreachable)
        with upstream_at("https://upstream.invalid:443/v1", **settings) as upstream, expected:
            upstream.complete(BODY, call_id="call-1")
        assert not proxy.requests


def test_no_proxy_for_other_hosts_changes_nothing() -> None:
    with serving(answering(502, {})) as proxy:
        settings = {"https_proxy": f"http://127.0.0.1:{proxy.port}", "no_proxy": "stream.invalid,upstream.invalid:80"}
        expected = pytest.raises(UpstreamUnreachable)
        with upstream_at("https://upstream.invalid/v1", **settings) as upstream, expected:
            upstream.complete(BODY, call_id="call-1")
        assert proxy.requests[0].target == "upstream.invalid:443"


def test_loopback_is_never_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(answering(200, REPLY)) as server, upstream_at(server.base_url) as upstream:
        assert upstream.complete(BODY, call_id="call-1").text == "Hi."
