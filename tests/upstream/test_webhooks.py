"""Posting to webhooks: which addresses are asked, how long is waited, and what the name's answers can do."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from chatapi.domain.public_addresses import read_url
from chatapi.upstream import webhooks
from chatapi.upstream.webhooks import Outcome, post
from tests.support.receiver import NO_ANSWER, Receiver, receiving

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"


class Names:
    """A resolver whose answers change: one list of addresses after the other, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if one address of loopback were public: the real ones are not on this machine."""

    def is_public(address: IPv4Address | IPv6Address) -> bool:
        return str(address) == PUBLIC

    monkeypatch.setattr(webhooks, "is_public", is_public)
    monkeypatch.setattr(webhooks, "read_url", lambda url, private: read_url(url, private=True))


@contextmanager
def receiving_at_both() -> Iterator[tuple[Receiver, Receiver]]:
    """Receivers at the public and the private address, with one port: the first that is free at both."""
    with ExitStack() as stack:
        for _ in range(20):
            public = stack.enter_context(receiving(PUBLIC))
            try:
                private = stack.enter_context(receiving(PRIVATE, public.port))
            except OSError:
                continue
            yield public, private
            return
    raise AssertionError("no port is free at both addresses")


@contextmanager
def raw(script: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that does as the script says once the request has come; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    script(connection)
                except OSError:  # whoever asked has gone
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(timeout=10)


def test_what_is_posted_arrives_as_it_is() -> None:
    with receiving() as receiver:
        outcome = post(f"{receiver.url}/a?b=c", b'{"a":1}', {"webhook-id": "1"}, private=True)
        (sent,) = receiver.at("/a?b=c")
    assert outcome == Outcome(200)
    assert outcome.taken
    assert sent.body == b'{"a":1}'
    assert (sent.headers["content-type"], sent.headers["webhook-id"]) == ("application/json", "1")
    assert sent.headers["host"] == receiver.url.removeprefix("http://")


@pytest.mark.usefixtures("one_public_address")
def test_a_name_is_asked_once_a_try_and_only_its_public_addresses_are_connected_to() -> None:
    with receiving_at_both() as (public, private):
        url = f"http://alerts.example:{public.port}/x"
        names = Names([PRIVATE, PUBLIC], [PUBLIC], [PRIVATE])
        assert post(url, b"{}", {}, find=names).taken
        assert names.asked == 1
        assert post(url, b"{}", {}, find=names).taken
        assert [each.headers["host"] for each in public.at("/x")] == [f"alerts.example:{public.port}"] * 2
        refused = post(url, b"{}", {}, find=names)
        assert not refused.taken
        assert "no public address" in (refused.explained or "")
        assert private.at("/x") == []


@pytest.mark.usefixtures("one_public_address")
def test_a_name_that_answers_otherwise_for_the_connection_is_not_asked_again() -> None:
    """As DNS rebinding does: a public address first, a private one at once afterwards."""
    with receiving_at_both() as (public, private):
        assert post(f"http://rebinding.example:{public.port}/x", b"{}", {}, find=Names([PUBLIC], [PRIVATE])).taken
        assert (len(public.at("/x")), private.at("/x")) == (1, [])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_loopback_is_not_asked_however_it_is_written(host: str) -> None:
    with receiving() as receiver:
        outcome = post(f"https://{host}:{receiver.port}/x", b"{}", {})
        assert outcome.status is None
        assert "public address" in (outcome.problem or "") or "private address" in (outcome.problem or "")
        assert receiver.at("/x") == []


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "100.64.0.1", "64:ff9b::a9fe:a9fe", "fe80::1%1"])
def test_private_answers_are_refused(address: str) -> None:
    outcome = post("https://alerts.example/", b"{}", {}, find=lambda *_: [address])
    assert outcome.problem == webhooks.NO_PUBLIC_ADDRESS


def test_a_name_without_addresses_is_not_told_from_a_private_one() -> None:
    def find(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert post("https://alerts.example/", b"{}", {}, find=find).problem == webhooks.NO_PUBLIC_ADDRESS
    assert post("https://alerts.example/", b"{}", {}, private=True, find=find).problem == "it has no address"


def test_an_answer_that_is_no_address_is_a_problem() -> None:
    assert post("https://alerts.example/", b"{}", {}, find=lambda *_: ["nonsense"]).problem == "the connection failed"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiving() as receiver:
        assert post(f"{receiver.url}/x", b"{}", {}, private=True).taken


def test_redirects_are_not_followed() -> None:
    with receiving() as receiver:
        receiver.answer("/x", 307)
        outcome = post(f"{receiver.url}/x", b"{}", {}, private=True)
        assert (outcome.taken, outcome.explained) == (False, "status 307 (redirects are not followed)")
        assert receiver.at("/redirected") == []


def test_one_that_hangs_is_left_in_time() -> None:
    with receiving() as receiver:
        receiver.answer("/x", NO_ANSWER)
        begun_at = time.monotonic()
        outcome = post(f"{receiver.url}/x", b"{}", {}, private=True, timeout_s=0.5)
        assert 0.4 < time.monotonic() - begun_at < 2
    assert outcome.problem == "no answer within 0.5 s"


def test_one_that_answers_by_drops_is_left_in_time() -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.1)

    with raw(drip) as url:
        begun_at = time.monotonic()
        outcome = post(url, b"{}", {}, private=True, timeout_s=0.7)
        assert time.monotonic() - begun_at < 2
    assert outcome.problem == "no answer within 0.7 s"


def test_endless_headers_are_not_read() -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            connection.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1000))

    with raw(flood) as url:
        assert post(url, b"{}", {}, private=True).problem == "its answer was no HTTP"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_what_is_no_answer_is_a_problem(answer: bytes) -> None:
    with raw(lambda connection: connection.sendall(answer)) as url:
        outcome = post(url, b"{}", {}, private=True)
    assert outcome.problem in ("its answer was no HTTP", "the connection failed")


def test_nobody_there_is_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = post(f"http://127.0.0.1:{port}/", b"{}", {}, private=True)
    assert outcome.explained == "the connection was refused"


def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=alerts.example", "-addext", "subjectAltName=DNS:alerts.example", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-", "-out", "-", *subject]
    certificate.write_bytes(subprocess.run(make, check=True, capture_output=True).stdout)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(webhooks, "_tls", lambda: trusting)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    with receiving() as receiver:
        receiver.speak_tls(serving)
        for name, problem in (("alerts.example", None), ("other.example", "its certificate is not valid")):
            url = f"https://{name}:{receiver.port}/x"
            outcome = post(url, b"{}", {}, private=True, find=lambda *_: ["127.0.0.1"])
            assert outcome.taken is (problem is None)
            assert (outcome.explained or "").startswith(problem or "")
        assert len(receiver.at("/x")) == 1
