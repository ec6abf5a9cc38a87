"""The HTTP client builds the same requests as httpx2's does."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from chatapi.upstream.http_client import HttpClient

URL = "https://upstream.example:8443/v1/chat/completions?a=%20b"
HEADERS = [("Accept", "application/json"), ("user-AGENT", "openai"), ("X-Twice", "1"), ("X-Twice", "2")]
TIMEOUT = httpx2.Timeout(3.0, connect=1.0)
PLAIN: dict[str, Any] = {"content": b'{"a":1}', "headers": HEADERS, "timeout": TIMEOUT}
OTHERS: list[dict[str, Any]] = [
    PLAIN | {"content": b""},
    PLAIN | {"content": None},
    PLAIN | {"content": None, "json": {"a": 1}},
    PLAIN | {"content": None, "data": {"a": "1"}, "files": {"file": ("name", b"text")}, "headers": dict(HEADERS)},
    PLAIN | {"params": {"api-version": "1"}},
    PLAIN | {"headers": [*HEADERS, ("host", "other.example")]},
    PLAIN | {"headers": [*HEADERS, ("Transfer-Encoding", "chunked")]},
    PLAIN | {"headers": None},
    PLAIN | {"cookies": {"a": "1"}},
    PLAIN | {"extensions": {"trace": print}},
    {"content": b"1", "headers": HEADERS},
    {},
]


def said(request: httpx2.Request) -> tuple[Any, ...]:
    """All that is sent of a request, with its header lines in the order of their names."""
    boundary = request.headers.get("content-type", "").partition("boundary=")[2] or "no boundary"
    lines = sorted((name.lower(), value.replace(boundary.encode(), b"")) for name, value in request.headers.raw)
    body = b"".join(request.stream).replace(boundary.encode(), b"")  # type: ignore[arg-type]
    return request.method, str(request.url), request.url.raw_path, lines, body, request.extensions


@pytest.mark.parametrize("options", [PLAIN, PLAIN | {"files": None, "params": None}, *OTHERS])
@pytest.mark.parametrize("url", [URL, "http://[::1]:1/"])
def test_requests_are_those_of_httpx2(url: str, options: dict[str, Any]) -> None:
    with httpx2.Client(timeout=5, trust_env=False) as theirs, HttpClient(timeout=5, trust_env=False) as ours:
        built = ours.build_request("post", url, **options)
        assert said(built) == said(theirs.build_request("post", url, **options))
        assert built.read() == b"".join(built.stream)  # type: ignore[arg-type]


def test_a_request_of_bytes_is_not_built_by_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx2.Client, "build_request", None)
    with HttpClient(timeout=5, trust_env=False) as client:
        assert client.build_request("POST", URL, **PLAIN).headers["accept-encoding"]
