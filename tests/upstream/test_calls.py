"""What goes out to an upstream and what comes back, through the real client and a real server."""

from __future__ import annotations

import gzip
import json
import time

import orjson
import pytest

from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import ConfigurationError
from chatapi.settings import Settings
from chatapi.upstream.keep_alive import REST_S
from chatapi.upstream.sse import events_in
from chatapi.upstream.upstreams import build_upstreams
from tests.upstream.servers import (
    BODY,
    END,
    REPLY,
    USAGE,
    answering,
    chunk,
    delta,
    event,
    response,
    sending,
    serving,
    streaming,
    upstream_at,
)

pytestmark = pytest.mark.usefixtures("way")

HELLO = [event(delta("Hel")), event(delta("lo", "stop")), event(b"[DONE]"), END]


def test_a_reply_keeps_every_field_and_its_usage() -> None:
    with serving(answering(200, REPLY, "x-request-id: req_7")) as server, upstream_at(server.base_url) as upstream:
        reply = upstream.complete(BODY, call_id="call-1")
    assert json.loads(reply.body) == REPLY
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
    assert orjson.loads(reply.body)["big"] is None


@pytest.mark.parametrize("region", ["Z\u00fcrich".encode(), "Z\u00fcrich".encode("latin-1")])
@pytest.mark.parametrize("encoding", ["identity", "gzip", "gzip\r\nContent-Encoding: identity"])
def test_a_header_may_say_anything(region: bytes, encoding: str) -> None:
    body = json.dumps(REPLY).encode()
    raw = response(200, gzip.compress(body) if "gzip" in encoding else body, f"Content-Encoding: {encoding}", "X: HERE")
    with serving(sending(raw.replace(b"HERE", region))) as server, upstream_at(server.base_url) as upstream:
        assert [upstream.complete(BODY, call_id="call-1").text for _ in range(2)] == ["Hi.", "Hi."]
        assert server.connections == 1


@pytest.mark.parametrize("header", ["X: 1", "Connection: close"])
@pytest.mark.parametrize("stray", [b"garbage", b"\x00", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_an_answer_with_something_behind_it_is_whole(header: str, stray: bytes) -> None:
    whole = response(200, json.dumps(REPLY).encode(), header)
    with serving(sending(whole + stray)) as server, upstream_at(server.base_url) as upstream:
        assert upstream.complete(BODY, call_id="call-1").text == "Hi."


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


def test_a_stream_gives_its_events_one_by_one_and_keeps_the_connection(way: str) -> None:
    usage_event = {"id": "chatcmpl-2", "choices": [], "usage": USAGE}
    pieces = [chunk(b": ping\n\n"), *HELLO[:2], event(usage_event), *HELLO[2:]]
    with serving(streaming(*pieces)) as server, upstream_at(server.base_url) as upstream:
        for _ in range(3):
            stream = upstream.open(BODY | {"stream_options": {"include_usage": True}}, call_id="call-7")
            relayed = b"".join(stream.stream)
            stream.close()
            time.sleep(REST_S)
        assert stream.upstream_id == "chatcmpl-2"
        assert server.connections == 1
        request = server.requests[0]
    assert stream.stream.usage() == Usage(9, 0, 2, 0, UsageSource.UPSTREAM)
    assert (json.dumps(usage_event).encode() in relayed) == (way == "relayed")
    assert relayed.endswith(b"data: [DONE]\n\n")
    events = list(events_in(relayed))
    if way == "relayed":
        del events[2]
    assert [e.text for e in events] == ["Hel", "lo", ""]
    assert [e.ended for e in events] == [set(), {0}, set()]
    assert json.loads(request.body) == BODY | {"stream": True, "stream_options": {"include_usage": True}}
    assert request.headers["accept-encoding"] == "identity"


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


def test_the_only_upstream_answers_for_every_model_by_its_own_name() -> None:
    upstreams = build_upstreams(Settings(openai_api_key="a-key-to-hide"))
    assert upstreams.resolve("gpt-9") == "gpt-9"
    [only] = upstreams.serving("gpt-9")
    assert (only.name, only.name_of("gpt-9")) == ("openai", "gpt-9")
    assert "a-key-to-hide" not in repr(vars(only))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_stream_may_be_written_oddly_and_cut_anywhere(size: int) -> None:
    finish = delta("lo", "stop") | {"usage": USAGE}
    said = [json.dumps(value) for value in (delta("Hel"), finish)]
    lines = ["\ufeff: ping", "", "event: message", f"data:{said[0][:1]}", f"data: {said[0][1:]}", "", "id: 7"]
    data = "\r\n".join([*lines, f"data: {said[1]}"]).encode()  # no [DONE], and not even a blank line at the end
    pieces = [chunk(data[start : start + size]) for start in range(0, len(data), size)]
    with serving(streaming(*pieces, END)) as server, upstream_at(server.base_url) as upstream:
        stream = upstream.open(BODY, call_id="call-7")
        assert "".join(e.text for e in stream) == "Hello"
        assert stream.stream.usage() == Usage(9, 0, 2, 0, UsageSource.UPSTREAM)
        assert not stream.stream.done
