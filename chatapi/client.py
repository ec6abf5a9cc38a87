"""The Python client of a gateway, told in docs/client.md. It needs nothing but the standard library.

What may go wrong is one tree; each error has `message`, `status` and `retry_after_s`:

    ClientError                  the gateway refused the request, or what answers there is no gateway
    ├── AuthenticationError      username and password are not accepted (401), or too many logins failed (429)
    ├── QuotaExceeded            a quota or a rate limit is used up (429)
    ├── UpstreamFailed           the model failed, or its answer broke off
    └── Unavailable              the gateway cannot be reached, is silent, or cannot serve now (503): try again later
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from typing import Any, Self, cast
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

CONNECT_TIMEOUT_S = 10.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
NO_GATEWAY = "The reply is none of a gateway's: is base_url its address?"
UPSTREAM_FAILED = "An error occurred in the chatgpt request"  # how `/api` begins what it says about an upstream


class ClientError(Exception):
    """The root of all errors; itself: the gateway refused the request, or what answers there is no gateway.

    Args:
        message: what is wrong, in the gateway's words where it said any.
        status: the HTTP status that says so; None where none does, as in the middle of an answer.
        retry_after_s: in how many seconds trying again may help; None where nothing is known.
    """

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s


class AuthenticationError(ClientError):
    """The gateway does not accept username and password, or the access token that it gave for them."""


class QuotaExceeded(ClientError):
    """A quota of the user or its tenant, or a rate limit, is used up."""


class UpstreamFailed(ClientError):
    """The model failed or its answer broke off; what had come of it may have been charged."""


class Unavailable(ClientError):
    """The gateway cannot be reached, says nothing for too long, or cannot serve now."""


class Client:
    """A user's access to one gateway. Threads may share it.

    The password is exchanged for an access token at the first call, and once more whenever that token is not accepted
    any longer. Calls are never repeated otherwise. `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` are
    honoured; redirects are not followed, and loopback is never reached through a proxy.

    Args:
        base_url: where the gateway is, such as `https://chat.example.org`; without `/v1`.
        username, password: the user's. The password is sent to `POST /token` only and appears in no error.
        model: the model that `chat` talks to; `ask` leaves the choice to the gateway.
        timeout_s: for how many seconds the gateway may be silent. Connecting may take 10 s at most.

    Raises:
        ClientError: or one of its kinds; by every call, and by `chat` also in the middle of an answer.
        ValueError: `base_url` is no http or https address, or has credentials in it.
    """

    def __init__(
        self, base_url: str, username: str, password: str, *, model: str = "gpt-4o-mini", timeout_s: float = 150.0
    ) -> None:
        url = urlsplit(base_url)
        if url.username is not None or url.password is not None:
            raise ValueError("base_url must not have credentials in it")
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
            raise ValueError(f"base_url must be like https://chat.example.org, and is {base_url!r}")
        self.base_url, self.username = base_url.rstrip("/"), username
        self.model, self.timeout_s = model, timeout_s
        self._password: str | None = password
        self._access_token: str | None = None
        self._exchanging = threading.Lock()
        proxies = urllib.request.ProxyHandler({} if url.hostname in LOOPBACK else None)
        self._opener = urllib.request.build_opener(proxies, _Transport, _NoRedirects)

    def __repr__(self) -> str:
        return f"Client({self.base_url!r}, {self.username!r}, model={self.model!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget password and access token; further calls raise. A running `chat` ends by its own `close()`."""
        self._password = self._access_token = None

    def ask(self, q: str) -> str:
        """Ask one question without any context, and return the answer (`GET /api`)."""
        text = _reply(self._call("/api?" + urlencode({"q": q}))).get("message")
        if not isinstance(text, str):
            raise ClientError(NO_GATEWAY)
        return text

    def chat(  # noqa: PLR0917 - the signature is a contract
        self,
        text: str,
        messages: list[dict[str, Any]] | None = None,
        settings: str = "",
        max_tokens: int | None = 2000,
        temperature: float | None = 1.0,
        top_p: float | None = 0.1,
        presence_penalty: float | None = 0.0,
        frequency_penalty: float | None = 0.0,
    ) -> Generator[str, None, None]:
        """Say something in a conversation, and yield the answer piece by piece (`POST /v1/chat/completions`).

        Nothing is sent before the first piece is asked for. Closing the generator ends the answer.

        Args:
            text: what the user says.
            messages: the conversation so far. When the answer is complete, both sides are appended; else nothing is.
            settings: the system message. It is put first, in `messages` too, unless the conversation has it already.
            max_tokens: the most tokens of the answer.
            temperature: as in OpenAI's API reference, like the ones after it. What is None is not sent at all.
        """
        conversation = list(messages or [])
        system = {"role": "system", "content": settings}
        added = [system] if settings and system not in conversation else []
        said = {"role": "user", "content": text}
        body = {
            "model": self.model, "messages": [*added, *conversation, said], "stream": True, "max_tokens": max_tokens,
            "temperature": temperature, "top_p": top_p, "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
        }  # fmt: skip
        body = {name: value for name, value in body.items() if value is not None}
        pieces = []
        with closing(self._call("/v1/chat/completions", body)) as response:
            for piece in _pieces(response):
                pieces.append(piece)
                yield piece
        if messages is not None:
            messages[:0] = added
            messages += [said, {"role": "assistant", "content": "".join(pieces)}]

    def _call(self, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """Send an authenticated request; once more with a new access token where the old one is not accepted."""
        access_token = self._exchange(None)
        try:
            return self._send(path, body, access_token)
        except AuthenticationError:
            return self._send(path, body, self._exchange(access_token))

    def _exchange(self, refused: str | None) -> str:
        """The access token; exchanged anew if there is none but the refused one. Threads wait for each other's."""
        with self._exchanging:
            if self._password is None:
                raise ClientError("This client is closed")
            if self._access_token is None or self._access_token == refused:
                message = _reply(self._send("/token", {"u": self.username, "p": self._password})).get("message")
                if not isinstance(message, dict) or not isinstance(message.get("token"), str):
                    raise ClientError(NO_GATEWAY)
                self._access_token = message["token"]
            return self._access_token

    def _send(self, path: str, body: dict[str, Any] | None, jwt: str | None = None) -> http.client.HTTPResponse:
        request = urllib.request.Request(self.base_url + path, headers={"User-Agent": "chatapi-client"})
        if body is not None:
            request.data = json.dumps(body, allow_nan=False).encode()
            request.add_header("Content-Type", "application/json")
        if jwt is not None:
            request.add_header("Authorization", f"Bearer {jwt}")
        try:
            return cast(http.client.HTTPResponse, self._opener.open(request, timeout=self.timeout_s))
        except HTTPError as error:
            raise _refusal(error, login=jwt is None) from None
        except TimeoutError as error:
            raise Unavailable(f"The gateway at {self.base_url} said nothing for {self.timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(f"The gateway at {self.base_url} cannot be reached: {reason}") from error


def _refusal(reply: HTTPError, *, login: bool) -> ClientError:
    """The error that a reply means: by its status, and by whether the gateway or a proxy before it sent it."""
    said: dict[str, Any] = {}
    with suppress(ClientError):  # without words, the status says enough
        said = _reply(reply)
    if isinstance(said.get("error"), dict):
        said = said["error"]
    message = said.get("message")
    status, kind = reply.code, ClientError
    if 300 <= status < 400:
        message = f"The gateway redirects to {reply.headers.get('Location')}: give that address as base_url"
    elif status == 401 or (login and status == 429):
        kind = AuthenticationError
    elif status == 429:
        kind = UpstreamFailed if said.get("code") == "upstream_rate_limited" else QuotaExceeded
    elif status == 503 or (status in {502, 504} and message is None):
        kind = Unavailable
    elif status in {502, 504} or str(message).startswith(UPSTREAM_FAILED):
        kind = UpstreamFailed
    wait_s = reply.headers.get("Retry-After", "")
    message = str(message or f"The gateway answered {status} {reply.reason}")
    return kind(message, status=status, retry_after_s=int(wait_s) if wait_s.isdecimal() else None)


def _pieces(response: http.client.HTTPResponse) -> Iterator[str]:
    """The texts of a streamed chat completion. Without its `[DONE]` an answer is not whole, however well it ended."""
    for data in _events(response):
        if data == b"[DONE]":
            return
        chunk = _json(data)
        if "error" in chunk:
            error = chunk["error"]
            message = error.get("message") if isinstance(error, dict) else None
            raise UpstreamFailed(str(message or "The model failed"))
        for choice in chunk.get("choices") or []:
            if text := (choice.get("delta") or {}).get("content"):
                yield text
    raise UpstreamFailed("The answer broke off")


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The payloads of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    payload = []
    with _unbroken():
        for line in response:
            if line.startswith(b"data:"):
                payload.append(line[5:].strip(b"\r\n").removeprefix(b" "))
            elif not line.strip(b"\r\n") and payload:
                yield b"\n".join(payload)
                payload = []


def _reply(response: http.client.HTTPResponse | HTTPError) -> dict[str, Any]:
    """The JSON object that a reply consists of."""
    with closing(response), _unbroken():
        return _json(response.read())


@contextmanager
def _unbroken() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise UpstreamFailed(f"The answer broke off: {error}") from error


def _json(raw: bytes) -> dict[str, Any]:
    with suppress(ValueError, RecursionError):
        value = json.loads(raw)
        if isinstance(value, dict):
            return value
    raise ClientError(NO_GATEWAY)


class _Connection(http.client.HTTPConnection):
    """Connects within `CONNECT_TIMEOUT_S`; only afterwards the timeout that was asked for holds."""

    def connect(self) -> None:
        silence_s, self.timeout = self.timeout, CONNECT_TIMEOUT_S
        super().connect()
        self.sock.settimeout(silence_s)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _Transport(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    @cached_property
    def _trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context()  # takes a few ms: not for every request anew

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._trusted)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and the access token would go to whoever is named."""

    def redirect_request(self, *_: object) -> None:
        return None
