"""Connections: who sends too slowly, too much or no HTTP is told so in the dialect of the path, and never kept."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from chatapi.endpoint import connections
from tests.support.faults import reply_to
from tests.support.gateway import Gateway
from tests.support.http import exchange_bytes
from tests.support.routes import API, messages

SECRET = "sk-this-is-nobodys-business"
BODY_LIMIT = 2 * 1024 * 1024
pytestmark = pytest.mark.parametrize("gateway", ["sqlite"], indirect=True)  # no word here is about the database


def parts_of(reply: bytes) -> tuple[int, dict[str, str], Any]:
    """The status, headers and JSON of a reply's bytes."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, json.loads(body)


def refused(gateway: Gateway, request: bytes) -> tuple[int, Any]:
    """The status and JSON of a refusal, which says nothing of what was sent and ends the connection."""
    reply = exchange_bytes(gateway.base_url, request)
    status, headers, body = parts_of(reply)
    assert headers["x-request-id"]
    assert headers["content-type"] == "application/json"
    assert SECRET.encode() not in reply
    return status, body


def chunked(gateway: Gateway, path: str, chunks: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {gateway.somebody}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head.encode() + chunks


def in_shape(path: str, body: Any) -> bool:
    if path.startswith("/v1"):
        return isinstance(body["error"]["message"], str)
    return isinstance(body, str) if path == "/chatgpt_prompt" else body["statu"] is False


@pytest.mark.parametrize("path", ["/api", "/chatgpt_prompt", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (f" HTTP/9.9\r\nAuthorization: {SECRET}\r\n\r\n", 400),
        (f" HTTP/1.1\r\nAuthorization {SECRET}\r\n\r\n", 400),
        (f" HTTP/1.1\r\n{SECRET} x: 1\r\n\r\n", 400),
        (f" HTTP/1.1\r\nX: {SECRET}\x01\r\n\r\n", 400),
        (f"?q={SECRET}{'a' * 70_000} HTTP/1.1\r\n\r\n", 414),
        (f" HTTP/1.1\r\nX: {SECRET}{'a' * 9_000}\r\n\r\n", 431),
        (f" HTTP/1.1\r\nExpect: {SECRET}\r\n\r\n", 417),
        (f" HTTP/1.1\r\nTransfer-Encoding: {SECRET}\r\n\r\n", 501),
        (f" HTTP/1.1\r\nContent-Length: {SECRET}\r\n\r\n", 400),
    ],
    ids=["version", "no colon", "name", "control", "line", "field", "expect", "coding", "length"],
)
def test_what_is_no_http_is_refused_in_the_dialect_and_told_to_nobody(
    gateway: Gateway, path: str, rest: str, expected: int
) -> None:
    status, body = refused(gateway, f"POST {path}{rest}".encode())
    assert status == expected
    assert in_shape(path, body)
    assert SECRET not in gateway.log()


def test_a_refusal_is_one_line_of_json_in_the_log(gateway: Gateway) -> None:
    reply = exchange_bytes(gateway.base_url, f"{SECRET}\r\n\r\n".encode())
    status, headers, _ = parts_of(reply)
    assert status == 400
    (line,) = [line for line in gateway.log_lines() if line.get("request_id") == headers["x-request-id"]]
    assert (line["event"], line["error"], line["address"]) == ("refused", "InvalidRequestLine", "127.0.0.1")
    assert SECRET not in gateway.log()


def test_a_question_may_take_sixty_thousand_bytes(gateway: Gateway) -> None:
    question = "なぜ" * 3300
    assert len(quote(question)) > 59_000
    answer = gateway.http.get("/api", params={"q": question}, access_token=gateway.sign_in())
    assert API.answer(answer) == reply_to(question)


def test_a_header_cannot_move_the_service(gateway: Gateway) -> None:
    headers = {"SCRIPT_NAME": "/elsewhere", "PATH_INFO": "/elsewhere"}
    assert gateway.http.get("/healthz", headers=headers).status_code == 200


def test_a_body_in_chunks_is_bounded_like_any_other(gateway: Gateway) -> None:
    good = json.dumps({"model": "tiny", "messages": messages("hello")}).encode()
    body = good.ljust(BODY_LIMIT) + b"more"
    for content, expected in ((body, 413), (good.ljust(BODY_LIMIT), 200), (good.ljust(BODY_LIMIT) + b" ", 413)):
        chunks = iter([content[start : start + 65_536] for start in range(0, len(content), 65_536)])
        answer = gateway.http.request(
            "POST",
            "/v1/chat/completions",
            content=chunks,  # type: ignore[arg-type]
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {gateway.somebody}"},
        )
        assert answer.status_code == expected


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions"])
@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n0\r\n\r\n", b"2\r\n{}{}\r\n0\r\n\r\n", b"\r\n\r\n",
     b"2;\x01\r\n{}\r\n0\r\n\r\n", b"2\r\n{}\r\n0\r\nHost: x\r\n\r\n"],
)  # fmt: skip
def test_chunks_that_are_none_are_the_clients_fault(gateway: Gateway, path: str, chunks: bytes) -> None:
    status, body = refused(gateway, chunked(gateway, path, chunks))
    assert status == 400
    assert "chunks" in str(body)
    assert in_shape(path, body)


def test_a_connection_goes_on_after_a_body_that_nobody_read(gateway: Gateway) -> None:
    for _ in range(3):
        assert gateway.http.post("/chat", content=b"x" * 100_000).status_code == 401
        assert gateway.http.get("/healthz").status_code == 200


@pytest.mark.parametrize("content", [b'\\"' * 1_000_000, b"[" + b"{}," * 690_000 + b"{}]", b'"' * 2_000_000])
def test_no_body_stops_the_others(gateway: Gateway, content: bytes) -> None:
    """Reading 2 MB takes a moment before anybody is known; once it took minutes, or a second, of everybody's time."""
    slowest = 0.0
    done = threading.Event()

    def watch() -> None:
        nonlocal slowest
        while not done.is_set():
            began = time.monotonic()
            exchange_bytes(gateway.base_url, b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
            slowest = max(slowest, time.monotonic() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    answer = gateway.http.post("/token", content=content, headers={"Content-Type": "application/json"})
    took = time.monotonic() - began
    done.set()
    watcher.join()
    assert answer.status_code == 400
    assert took < 2
    assert slowest < 0.7


def test_a_head_that_does_not_end_is_given_up(gateway: Gateway) -> None:
    address = urlsplit(gateway.base_url)
    began = time.monotonic()
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as client:
        client.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nX: {SECRET}\r\n".encode())
        reply = b"".join(iter(lambda: client.recv(65_536), b""))
    assert connections.HEAD_S - 1 < time.monotonic() - began < connections.HEAD_S + 5
    status, _, body = parts_of(reply)
    assert status == 408
    assert body["error"]["message"] == "The request came too slowly"
