"""Many streams at once through a gateway, and what becomes of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import httpx2

from tests.support.gateway import Gateway
from tests.support.http import NO_TLS
from tests.support.routes import MODEL, messages


@dataclass
class Streamed:
    """One stream as its client saw it: the status, what came, and whether the connection broke."""

    status: int | None = None
    text: str = ""
    broken: bool = False


@dataclass
class Streams:
    """Streams that were begun in the background."""

    seen: list[Streamed] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def begin(self, gateway: Gateway, text: str, count: int, token: str) -> None:
        """Begin `count` streams of /v1/chat/completions."""
        for _ in range(count):
            streamed = Streamed()
            self.seen.append(streamed)
            thread = threading.Thread(target=_read, args=(gateway.base_url, text, token, streamed), daemon=True)
            self.threads.append(thread)
            thread.start()

    def join(self, patience_s: float = 30.0) -> None:
        """Wait until all have ended."""
        for thread in self.threads:
            thread.join(patience_s)
            assert not thread.is_alive(), "a stream did not end"


def _read(base_url: str, text: str, token: str, streamed: Streamed) -> None:
    body = {"model": MODEL, "messages": messages(text), "stream": True}
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with (
            httpx2.Client(base_url=base_url, timeout=30.0, trust_env=False, verify=NO_TLS) as client,
            client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            streamed.status = answer.status_code
            for piece in answer.iter_text():
                streamed.text += piece
    except httpx2.TransportError:
        streamed.broken = True
