"""What goes out to an upstream and what comes back, through the real client and a real server."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import orjson
import pytest

from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import ConfigurationError, UpstreamBroken, UpstreamUnreachable
from chatapi.settings import Settings
from chatapi.upstream.upstreams import build_upstreams
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    USAGE,
    Request,
    ScriptedServer,
    answering,
    chunk,
    delta,
    event,
    read_request,
    serving,
    streaming,
    upstream_at,
)

HELLO = [event(delta("Hel")), event(delta("lo", "stop")), event(b"[DONE]"), END]


def test_a_reply_keeps_every_field_and_its_usage() -> None:
    with serving(answering(200, REPLY, "x-request-id: req_7")) as server, upstream_at(server.base_url) as upstream:
        reply = upstream.complete(BODY, call_id="call-1")
    assert reply.body == REPLY
    assert reply.usage == Usage(9, 0, 2, 0, UsageSource.UPSTREAM)
    assert reply.upstream_id == "req_7"
    assert reply.text == "Hi."


def test_a_reply_without_usage_says_everything_that_was_produced() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"up": 1}'}}
    message = {"role": "assistant", "content": None, "refusal": "No.", "reasoning_content": "Hm.", "tool_calls": [call]}
    choices = [{"index": 0, "message": message}, {"index": 1, "message": {"content": "Two"}}]
    with serving(answering(200, {"id": "own", "choices": choices})) as server, upstream_at(server.base_url) as upstream:
        reply = upstream.complete(BODY, call_id="call-1")
    assert (reply.usage, reply.upstream_id, reply.text) == (None, "own", "No.")
    assert reply.counted_text == 'No.Hm.look{"up": 1}Two'


def test_half_a_surrogate_pair_in_a_reply_can_be_encoded_again() -> None:
    choices = rb'{"choices": [{"message": {"content": "a\ud83d"}}], "big": NaN}'
    with serving(answering(200, choices)) as server, upstream_at(server.base_url) as upstream:
        reply = upstream.complete(BODY, call_id="call-1")
    assert reply.text == "a\ufffd"
    assert orjson.loads(orjson.dumps(reply.body))["big"] is None


def test_a_request_carries_the_call_id_the_key_and_every_parameter() -> None:
    body = BODY | {"a_parameter_of_tomorrow": {"x": [1, None]}, "stream": False, "temperature": 0}
    with serving(answering(200, REPLY)) as server:
        settings = {"openai_api_key": "key-7", "openai_org_id": "org-7", "openai_project_id": "proj-7"}
        with upstream_at(server.base_url, **settings) as upstream:
            upstream.complete(body, call_id="call-7")
        request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert json.loads(request.body) == {name: value for name, value in body.items() if name != "stream"}
    assert request.headers["authorization"] == "Bearer key-7"
    assert request.headers["openai-organization"] == "org-7"
    assert request.headers["openai-project"] == "proj-7"
    assert request.headers["x-chatapi-call-id"] == "call-7"


def test_a_compatible_server_needs_no_key() -> None:
    with serving(answering(200, REPLY)) as server, upstream_at(server.base_url) as upstream:
        assert upstream.name == "compatible"
        upstream.complete(BODY, call_id="call-1")
        assert server.requests[0].headers["authorization"] == "Bearer none"


@pytest.mark.parametrize("stream", [False, True])
def test_azure_is_asked_at_its_deployment_with_its_own_key_header(stream: bool) -> None:
    with serving(streaming(*HELLO) if stream else answering(200, REPLY)) as server:
        settings = {
            "azure_openai_endpoint": f"http://127.0.0.1:{server.port}/",
            "azure_openai_api_key": "azure-key",
            "azure_openai_deployment": "our-chat",
            "openai_api_version": "2024-10-21",
        }
        with upstream_at(None, **settings) as upstream:
            assert upstream.name == "azure"
            if stream:
                list(upstream.open(BODY, call_id="call-7"))
            else:
                upstream.complete(BODY, call_id="call-7")
        request = server.requests[0]
    assert request.target == "/openai/deployments/our-chat/chat/completions?api-version=2024-10-21"
    assert request.headers["api-key"] == "azure-key"
    assert request.headers["x-chatapi-call-id"] == "call-7"
    assert "authorization" not in request.headers
    assert json.loads(request.body)["model"] == "gpt-4o-mini"


def test_without_a_deployment_azure_is_asked_at_the_models_name_and_nowhere_else() -> None:
    with serving(answering(200, REPLY)) as server:
        settings = {"azure_openai_endpoint": f"http://127.0.0.1:{server.port}", "azure_openai_api_key": "azure-key"}
        with upstream_at(None, **settings) as upstream:
            upstream.complete(BODY | {"model": "a/../../b?c"}, call_id="call-1")
        target = server.requests[0].target
    assert target.startswith("/openai/deployments/a%2F..%2F..%2Fb%3Fc/chat/completions?")


def test_a_stream_gives_its_events_one_by_one_and_keeps_the_connection() -> None:
    usage_event = {"id": "chatcmpl-2", "choices": [], "usage": USAGE}
    pieces = [chunk(b": ping\n\n"), *HELLO[:2], event(usage_event), *HELLO[2:]]
    with serving(streaming(*pieces)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(3):
            stream = upstream.open(BODY | {"stream_options": {"include_usage": True}}, call_id="call-7")
            events = list(stream)
            stream.close()
        assert server.connections == 1
        request = server.requests[0]
    assert [e.text for e in events] == ["Hel", "lo", "", ""]
    assert [e.finished for e in events] == [False, True, False, False]
    assert [e.usage_only for e in events] == [False, False, True, False]
    assert [e.done for e in events] == [False, False, False, True]
    assert events[2].usage == Usage(9, 0, 2, 0, UsageSource.UPSTREAM)
    assert json.loads(events[2].data) == usage_event
    assert json.loads(request.body) == BODY | {"stream": True, "stream_options": {"include_usage": True}}
    assert request.headers["accept-encoding"] == "identity"


def test_a_stream_left_at_done_gives_its_connection_back_when_it_is_closed() -> None:
    with serving(streaming(*HELLO)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(2):
            stream = upstream.open(BODY, call_id="call-1")
            assert next(e for e in stream if e.done).data == b"[DONE]"
            stream.close()
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


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "OPENAI_API_KEY"),
        ({"openai_base_url": "api.example.com"}, "OPENAI_BASE_URL"),
        ({"openai_base_url": "http://host:port/"}, "OPENAI_BASE_URL"),
        ({"openai_api_key": "key with\nspace"}, "OPENAI_API_KEY"),
        ({"openai_base_url": "https://api.openai.com/v1"}, "OPENAI_API_KEY"),
        ({"azure_openai_endpoint": "https://x.example.com"}, "AZURE_OPENAI_API_KEY"),
        ({"openai_api_key": "key", "https_proxy": "socks5://user:secret@host"}, "HTTPS_PROXY"),
    ],
)
def test_a_wrong_setting_is_named_when_the_upstreams_are_built(settings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        build_upstreams(Settings(**settings))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_the_default_model_answers_where_none_is_named() -> None:
    upstreams = build_upstreams(Settings(openai_api_key="key", model="gpt-9"))
    assert upstreams.resolve(None)[1] == "gpt-9"
    assert upstreams.resolve("gpt-4o")[1] == "gpt-4o"
    assert upstreams.resolve(None)[0].name == "openai"
    assert "key" not in repr(vars(upstreams.resolve(None)[0]))
