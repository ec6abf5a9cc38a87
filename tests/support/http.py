"""Real HTTP to a gateway: a thin layer over httpx2, and a bare socket for what no client library would send."""

from __future__ import annotations

import json as json_module
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

TIMEOUT_S = 30.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it saves each client from reading all certificates


class Http:
    """Requests to one base URL. Nothing is retried, no redirect is followed, no proxy is used."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._client = self._connect()

    def _connect(self) -> httpx2.Client:
        return httpx2.Client(
            base_url=self.base_url, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False, verify=NO_TLS
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        access_token: str | None = None,
        json: Any = None,
        content: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """One request; `json` is sent as JSON with its content type, `content` as it is."""
        sent = _headers(access_token, headers)
        if json is not None:
            return self._client.request(method, path, json=json, params=params, headers=sent)
        return self._client.request(method, path, content=content, params=params, headers=sent)

    def get(self, path: str, **arguments: Any) -> httpx2.Response:
        """`request` with GET."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx2.Response:
        """`request` with POST."""
        return self.request("POST", path, **arguments)

    def upload(
        self, path: str, fields: Mapping[str, str], files: Mapping[str, Any], *, access_token: str | None = None
    ) -> httpx2.Response:
        """POST a form with files, each `(name, bytes, media type)`."""
        return self._client.post(path, data=fields, files=files, headers=_headers(access_token, None))

    @contextmanager
    def stream(
        self, path: str, *, access_token: str | None = None, json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """POST `json` and give the response before its body is read."""
        with self._client.stream("POST", path, json=json, headers=_headers(access_token, headers)) as response:
            yield response

    def close(self) -> None:
        """Close the connections; the next request opens another."""
        self._client.close()
        self._client = self._connect()


def _headers(access_token: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    sent = dict(headers or {})
    if access_token is not None:
        sent["Authorization"] = f"Bearer {access_token}"
    return sent


def exchange_bytes(base_url: str, request: bytes, *, timeout_s: float = TIMEOUT_S) -> bytes:
    """Send raw bytes and return every byte that comes back until the server closes (ask for `Connection: close`)."""
    address = urlsplit(base_url)
    received = bytearray()
    with socket.create_connection((address.hostname or "", address.port or 80), timeout_s) as connection:
        connection.sendall(request)
        while piece := connection.recv(65536):
            received += piece
    return bytes(received)


def raw_post(path: str, body: object, *, access_token: str) -> bytes:
    """The bytes of a POST with a JSON body, for `exchange_bytes`."""
    content = json_module.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {access_token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content


def event_lines(text: str) -> list[str]:
    """The payloads of the `data:` events of a stream, in order; comments are skipped.

    Raises:
        AssertionError: where a line is neither an event, a comment nor empty.
    """
    payloads = []
    for line in text.split("\n"):
        if line.startswith("data: "):
            payloads.append(line.removeprefix("data: "))
        else:
            assert not line or line.startswith(":"), f"no line of an event stream: {line!r}"
    return payloads
