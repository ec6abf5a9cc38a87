"""Bodies that no good client sends: each is refused with a 4xx that says why in its dialect, never a 500."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway
from tests.support.routes import CHAT, COMPLETIONS, PROMPT, messages, refused_envelope

JSON = "application/json"
Refusal = Callable[[httpx2.Response], str]
REFUSALS: dict[str, Refusal] = {
    "/token": refused_envelope,
    PROMPT.path: PROMPT.refusal,
    CHAT.path: CHAT.refusal,
    COMPLETIONS.path: COMPLETIONS.refusal,
}
QUESTIONS = [PROMPT.path, CHAT.path, COMPLETIONS.path]


def good_body(path: str, text: str = "hello") -> bytes:
    """A body that would be accepted; the text stands in it unescaped."""
    if path == "/token":
        return f'{{"u": "nobody", "p": "{text}"}}'.encode()
    return f'{{"model": "tiny", "messages": [{{"role": "user", "content": "{text}"}}]}}'.encode()


def deep(path: str) -> bytes:
    return good_body(path).replace(b'"hello"', b"[" * 10_000 + b"]" * 10_000)


def nested_objects(path: str) -> bytes:
    return good_body(path).replace(b'"hello"', b'{"a":' * 5_000 + b"1" + b"}" * 5_000)


# Kinds of bodies that are wrong on every route, made for a path.
BODIES: dict[str, Callable[[str], bytes]] = {
    "nothing": lambda path: b"",
    "spaces": lambda path: b"   ",
    "ten kilobytes of [": lambda path: b"[" * 10_240,
    "deep arrays inside": deep,
    "deep objects inside": nested_objects,
    "NaN": lambda path: good_body(path)[:-1] + b', "temperature": NaN}',
    "Infinity": lambda path: good_body(path)[:-1] + b', "temperature": -Infinity}',
    "a lone surrogate": lambda path: good_body(path, r"a\ud800b"),
    "a lone low surrogate": lambda path: good_body(path, r"\udc00"),
    "a lone surrogate in a name": lambda path: good_body(path)[:-1] + rb', "\ud800": 1}',
    "no UTF-8": lambda path: good_body(path).replace(b"hello", b"\xff\xfe"),
    "UTF-16": lambda path: good_body(path).decode().encode("utf-16"),
    "half of it": lambda path: good_body(path)[:-5],
    "more after it": lambda path: good_body(path) + b"}",
    "single quotes": lambda path: good_body(path).replace(b'"', b"'"),
    "an array": lambda path: b"[" + good_body(path) + b"]",
    "a string": lambda path: b'"hello"',
    "a number": lambda path: b"1",
    "a huge number": lambda path: b"9" * 5_000,
    "null": lambda path: b"null",
    "true": lambda path: b"true",
    "a form": lambda path: b"u=nobody&p=secret&messages=hello",
}


def send(gateway: Gateway, path: str, content: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    everything = {"Content-Type": JSON, "X-Forwarded-For": gateway.address(), **(headers or {})}
    token = None if path == "/token" else gateway.somebody
    return gateway.http.post(path, content=content, access_token=token, headers=everything)


def assert_refused(answer: httpx2.Response, path: str, *statuses: int) -> None:
    assert answer.status_code in (statuses or (400,)), f"{answer.status_code}: {answer.text[:300]}"
    REFUSALS[path](answer)


@pytest.mark.parametrize("path", REFUSALS)
@pytest.mark.parametrize("make", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_good_json_object_is_refused(
    gateway: Gateway, path: str, make: Callable[[str], bytes]
) -> None:
    assert_refused(send(gateway, path, make(path)), path, 400, 422)


@pytest.mark.parametrize("path", REFUSALS)
def test_five_megabytes_are_too_large(gateway: Gateway, path: str) -> None:
    assert_refused(send(gateway, path, good_body(path, "a" * 5_000_000)), path, 413)


@pytest.mark.parametrize("path", REFUSALS)
def test_five_megabytes_in_chunks_are_too_large(gateway: Gateway, path: str) -> None:
    body = good_body(path, "a" * 5_000_000)
    pieces = iter([body[start : start + 65_536] for start in range(0, len(body), 65_536)])
    token = None if path == "/token" else gateway.somebody
    headers = {"Content-Type": JSON, **({"Authorization": f"Bearer {token}"} if token else {})}
    answer = httpx2.post(f"{gateway.base_url}{path}", content=pieces, headers=headers, trust_env=False, timeout=30)
    assert_refused(answer, path, 400, 411, 413)


@pytest.mark.parametrize("path", REFUSALS)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", None])
def test_another_content_type_or_none_is_refused(gateway: Gateway, path: str, content_type: str | None) -> None:
    headers = {"X-Forwarded-For": gateway.address()}
    if content_type is not None:
        headers["Content-Type"] = content_type
    token = None if path == "/token" else gateway.somebody
    answer = gateway.http.post(path, content=good_body(path), access_token=token, headers=headers)
    assert_refused(answer, path, 400, 415)


@pytest.mark.parametrize("path", QUESTIONS)
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_by_another_spelling_is_accepted(gateway: Gateway, path: str, content_type: str) -> None:
    assert send(gateway, path, good_body(path), {"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize("path", REFUSALS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "made-up"])
def test_a_compressed_body_is_refused(gateway: Gateway, path: str, encoding: str) -> None:
    content = gzip.compress(good_body(path))
    assert_refused(send(gateway, path, content, {"Content-Encoding": encoding}), path, 400, 415)


@pytest.mark.parametrize("path", QUESTIONS)
@pytest.mark.parametrize(
    "wrong",
    [None, 1, 1.5, True, "hello", {}, {"0": {}}, [1], [None], ["hello"], [[]], [{}], [{"role": "user"}],
     [{"role": None, "content": "a"}], [{"role": [], "content": "a"}], [{"role": {"a": 1}, "content": "a"}],
     [{"role": "user", "content": 1}], [{"role": "user", "content": {"a": 1}}], [{"role": "user", "content": [1]}]],
    ids=json.dumps,
)  # fmt: skip
def test_messages_of_a_wrong_type_are_refused(gateway: Gateway, faults: FaultyUpstream, path: str, wrong: Any) -> None:
    before = len(faults.served)
    content = json.dumps({"model": "tiny", "messages": wrong}).encode()
    assert_refused(send(gateway, path, content), path)
    assert len(faults.served) == before


@pytest.mark.parametrize(
    "changes",
    [{"model": 1}, {"model": None}, {"model": ""}, {"model": ["tiny"]}, {"n": "two"}, {"n": 0}, {"n": -1}, {"n": 1.5},
     {"n": True}, {"max_tokens": "many"}, {"max_tokens": -5}, {"max_completion_tokens": []},
     {"max_completion_tokens": 10**30}, {"n": 10**30}, {"stream_options": "usage"},
     {"stream": True, "stream_options": {"include_usage": "yes"}}],
    ids=json.dumps,
)  # fmt: skip
def test_parameters_that_are_counted_on_must_have_their_type(gateway: Gateway, changes: dict[str, Any]) -> None:
    body = {"model": "tiny", "messages": messages("hello"), **changes}
    assert_refused(send(gateway, COMPLETIONS.path, json.dumps(body).encode()), COMPLETIONS.path)


@pytest.mark.parametrize("path", QUESTIONS)
def test_a_body_that_is_shorter_than_it_says_never_reaches_the_upstream(
    gateway: Gateway, faults: FaultyUpstream, marker: str, path: str
) -> None:
    content = good_body(path, marker)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {gateway.somebody}\r\n"
        f"Content-Type: {JSON}\r\nContent-Length: {len(content) + 10}\r\nConnection: close\r\n\r\n"
    ).encode()
    address = urlsplit(gateway.base_url)
    received = b""
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(head + content)
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                received += piece
    assert not received or received.startswith(b"HTTP/1.1 4"), received[:200]
    assert not faults.about(marker)


@pytest.mark.parametrize("path", QUESTIONS)
def test_integers_of_any_size_go_through(gateway: Gateway, faults: FaultyUpstream, path: str, marker: str) -> None:
    numbers = [7, 2**64, -(10**40), {"inner": 2**64}]
    body = {"model": "tiny", "messages": [{"role": "user", "content": marker, "numbers": numbers}]}
    assert send(gateway, path, json.dumps(body).encode()).status_code == 200
    (served,) = faults.about(marker)
    assert served.body["messages"][-1]["numbers"] == numbers


@pytest.mark.parametrize("path", ["/api?q=%ff%fe", "/api?q=%ED%A0%80"])
def test_a_question_that_is_no_utf8_is_never_an_error_of_the_server(gateway: Gateway, path: str) -> None:
    assert gateway.http.get(path, access_token=gateway.somebody).status_code in (200, 400)


@pytest.mark.parametrize("text", ["nul \x00 byte", "\u202e right to left", "🙂" * 1000, "\\u0041", '"quotes"'])
def test_odd_but_valid_text_goes_through(gateway: Gateway, faults: FaultyUpstream, text: str, marker: str) -> None:
    for route in (PROMPT, CHAT, COMPLETIONS):
        answer = route.ask(gateway, f"{marker} {text}", gateway.somebody)
        assert answer.status_code == 200
    assert {served.text for served in faults.about(marker)} == {f"{marker} {text}"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/token"), ("POST", "/api"), ("GET", "/chat"), ("PUT", "/chat")])
def test_the_wrong_method_is_refused(gateway: Gateway, method: str, path: str) -> None:
    assert gateway.http.request(method, path, access_token=gateway.somebody).status_code == 405
