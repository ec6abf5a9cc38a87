"""What `chatapi.client` makes of replies that a gateway seldom gives; `tests/contract/test_client.py` has the rest."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chatapi.client import AuthenticationError, Client, ClientError, QuotaExceeded, Unavailable, UpstreamFailed

PASSWORD = "never-to-be-shown"
SLOW_LOGIN_S = 0.2


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/token"):
            self.server.exchanges += 1
            time.sleep(SLOW_LOGIN_S)
            self._send(200, json.dumps({"message": {"token": f"jwt-{self.server.exchanges}"}}).encode(), {})
        else:
            self._send(*self.server.reply)

    def do_GET(self) -> None:
        self.server.credentials.append(self.headers["Authorization"])
        self._send(*self.server.reply)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Scripted(ThreadingHTTPServer):
    """A gateway that gives everybody an access token, and otherwise answers `reply`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: tuple[int, bytes, dict[str, str]] = (200, b'{"message": "yes"}', {})
        self.exchanges = 0
        self.credentials: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, status: int, body: object, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.reply = (status, content, {name.replace("_", "-"): value for name, value in headers.items()})

    def streams(self, *payloads: str) -> None:
        self.says(200, "".join(f"data: {payload}\n\n" for payload in payloads).encode())


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(scripted: Scripted) -> Client:
    return Client(scripted.url, "somebody", PASSWORD)


def chunk(text: str) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


def openai_error(code: str) -> dict[str, object]:
    return {"error": {"message": "No.", "type": "some", "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, openai_error("bad"), ClientError),
        (401, {"message": "Token does not exist."}, AuthenticationError),
        (429, openai_error("insufficient_quota"), QuotaExceeded),
        (429, openai_error("upstream_rate_limited"), UpstreamFailed),
        (500, {"message": "An error occurred in the chatgpt request, it said 500"}, UpstreamFailed),
        (500, {"message": "An internal error occurred."}, ClientError),
        (502, openai_error("upstream_error"), UpstreamFailed),
        (502, b"<html>nginx</html>", Unavailable),
        (504, b"", Unavailable),
        (503, {"message": "The database cannot answer now."}, Unavailable),
    ],
)
def test_every_refusal_has_its_kind_status_and_wait(
    scripted: Scripted, client: Client, status: int, body: object, kind: type[ClientError]
) -> None:
    scripted.says(status, body, Retry_After="7")
    for call in (lambda: client.ask("?"), lambda: list(client.chat("?"))):
        with pytest.raises(ClientError) as caught:
            call()
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.retry_after_s) == (status, 7)
        assert caught.value.message


@pytest.mark.parametrize("body", [b"<html>a start page</html>", b"[]", b'{"message": 1}', b"[" * 100_000])
def test_what_is_no_gateway_is_named_so(scripted: Scripted, client: Client, body: bytes) -> None:
    scripted.says(200, body)
    with pytest.raises(ClientError, match="base_url"):
        client.ask("?")


def test_a_redirect_is_not_followed_with_the_access_token(scripted: Scripted, client: Client) -> None:
    scripted.says(302, b"", Location="https://elsewhere.example.org/api")
    with pytest.raises(ClientError, match=r"https://elsewhere\.example\.org/api"):
        client.ask("?")


@pytest.mark.parametrize("payloads", [(chunk("half"),), (chunk("half"), '{"error": {"message": "It broke."}}')])
def test_an_answer_without_its_end_raises_and_changes_no_messages(
    scripted: Scripted, client: Client, payloads: tuple[str, ...]
) -> None:
    scripted.streams(*payloads)
    messages: list[dict[str, Any]] = []
    reply = client.chat("?", messages, "Be brief.")
    assert next(reply) == "half"
    with pytest.raises(UpstreamFailed, match="broke"):
        next(reply)
    assert messages == []


def test_an_answer_that_was_not_read_to_its_end_changes_no_messages(scripted: Scripted, client: Client) -> None:
    scripted.streams(chunk("one"), chunk("two"), "[DONE]")
    messages: list[dict[str, Any]] = []
    reply = client.chat("?", messages)
    next(reply)
    reply.close()
    assert messages == []


def test_settings_are_put_first_once(scripted: Scripted, client: Client) -> None:
    scripted.streams(chunk("yes"), '{"choices": [], "usage": {}}', "[DONE]")
    messages: list[dict[str, Any]] = []
    for _ in range(2):
        assert list(client.chat("?", messages, "Be brief.")) == ["yes"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant"]


def test_threads_exchange_the_password_once_and_once_more_when_it_ends(scripted: Scripted, client: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(client.ask, ["?"] * 16)) == {"yes"}
        assert scripted.exchanges == 1
        scripted.says(401, {"message": "Token does not exist."})
        with pytest.raises(AuthenticationError):
            client.ask("?")
    assert scripted.exchanges == 2
    assert scripted.credentials[-2:] == ["Bearer jwt-1", "Bearer jwt-2"]


def test_a_silent_gateway_and_none_at_all_are_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match=r"nothing for 0\.2 s"):
            Client(url, "somebody", PASSWORD, timeout_s=0.2).ask("?")
    with pytest.raises(Unavailable, match="cannot be reached"):
        Client(url, "somebody", PASSWORD).ask("?")


def test_loopback_is_not_looked_for_behind_a_proxy(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Client(scripted.url, "somebody", PASSWORD).ask("?") == "yes"


def test_the_password_is_shown_nowhere(client: Client, scripted: Scripted) -> None:
    scripted.says(500, b"")
    with pytest.raises(ClientError) as caught:
        client.ask("?")
    assert PASSWORD not in f"{client!r} {caught.value!r} {''.join(traceback.format_exception(caught.value))}"


def test_a_closed_client_says_so(scripted: Scripted) -> None:
    with Client(scripted.url, "somebody", PASSWORD) as client:
        assert client.ask("?") == "yes"
    with pytest.raises(ClientError, match="closed"):
        client.ask("?")


@pytest.mark.parametrize("url", ["chat.example.org", "ftp://example.org", "http://", "http://name:word@example.org"])
def test_a_base_url_that_cannot_be_is_refused_without_repeating_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        Client(url, "somebody", PASSWORD)
    assert "word" not in str(caught.value)
