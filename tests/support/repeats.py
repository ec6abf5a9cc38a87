"""Requests that are sent again with an `Idempotency-Key`: who sends them, and an upstream that tells them apart."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from sqlalchemy import func, select, text, update

from chatapi.storage.tables import idempotency_keys
from tests.concurrency.world import LONG_AGO, World, world_of
from tests.support.gateway import Gateway
from tests.support.http import Http
from tests.support.routes import messages, refused_error
from tests.support.users import User
from tests.upstream.servers import END, STREAM_HEAD, USAGE, Request, ScriptedServer, delta, event, response

CHAT, EMBEDDINGS, SOUND = "/v1/chat/completions", "/v1/embeddings", "/v1/audio/transcriptions"
LARGE_BYTES = 20_000
PATIENCE_S = 20.0
REPLAYED = "x-chatapi-idempotent-replay"


UPSTREAMS = """
[[upstreams]]
name = "good"
kind = "compatible"
base_url = "{url}"
models = ["tiny", "embedder", "whisper-1"]

[[upstreams]]
name = "fragile"
kind = "compatible"
base_url = "{url}"
models = ["fragile"]

[breaker]
failures = 3
open_s = 3600
"""


class Upstream:
    """An upstream that does as a word in the request says; of each test it knows what was asked by its marker."""

    def __init__(self) -> None:
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.server: ScriptedServer
        self._numbers = itertools.count(1)

    def about(self, marker: str) -> list[Request]:
        return [request for request in list(self.server.requests) if marker.encode() in request.body]

    def script(self, connection: socket.socket, request: Request) -> None:
        text, number = request.body.decode("utf-8", "replace"), next(self._numbers)
        found = re.search(r"(\S+) do:(\w+)", text)
        marker, what = (found[1].rpartition('"')[2], found[2]) if found else ("", "")
        if what == "break" or (what == "fail" and len(self.about(marker)) == 1):
            connection.sendall(response(500, b'{"error": {"message": "broken"}}'))
            return
        said = f"reply {number}" + "." * (LARGE_BYTES if what == "large" else 0)
        if '"stream":true' in text:
            connection.sendall(STREAM_HEAD + event(delta(said)))
            if what == "gate" and len(self.about(marker)) == 1:
                self.gates[marker].wait(PATIENCE_S)
            last = event({"choices": [], "usage": USAGE}) + event(b"[DONE]") + END
            connection.sendall(event(delta(None, "stop")) + last)
            return
        if what == "gate":
            self.gates[marker].wait(PATIENCE_S)
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        vector = {"object": "embedding", "index": 0, "embedding": [number]}
        value = {"choices": [choice], "data": [vector], "text": said, "usage": USAGE}
        connection.sendall(response(200, json.dumps(value).encode()))


class Caller:
    """A user of its own, who asks either gateway."""

    def __init__(self, gateways: list[Gateway], kind: str = "many") -> None:
        self.gateways = gateways
        self.user: User = gateways[0].users.take(kind)
        self.token = gateways[0].token(self.user)

    def ask(
        self, text: str, key: str, *, at: int = 0, path: str = CHAT, http: Http | None = None, **more: Any
    ) -> httpx2.Response:
        body = {"model": "tiny", "messages": messages(text)} | more
        sender = http or self.gateways[at].http
        return sender.post(path, json=body, access_token=self.token, headers={"Idempotency-Key": key})

    def charged(self) -> tuple[int, int]:
        """Requests and tokens."""
        rows = self.gateways[0].usage(self.user.tenant)
        return sum(row["requests"] for row in rows), sum(row["total_tokens"] for row in rows)


def is_replay(answer: httpx2.Response, of: httpx2.Response) -> bool:
    assert answer.status_code == of.status_code == 200, answer.text
    assert answer.content == of.content
    assert answer.headers["content-type"] == of.headers["content-type"]
    assert answer.headers["x-request-id"] != of.headers["x-request-id"]
    assert REPLAYED not in of.headers
    return answer.headers.get(REPLAYED) == "true"


def refused(answer: httpx2.Response, status: int) -> str:
    """Its code."""
    assert answer.status_code == status, answer.text
    refused_error(answer)
    return str(answer.json()["error"]["code"])


def plain(caller: Caller, text: str, key: str, at: int) -> httpx2.Response:
    return caller.ask(text, key, at=at)


def streamed(caller: Caller, text: str, key: str, at: int) -> httpx2.Response:
    answer = caller.ask(text, key, at=at, stream=True)
    assert answer.text.endswith("data: [DONE]\n\n")
    return answer


def embedded(caller: Caller, text: str, key: str, at: int) -> httpx2.Response:
    body = {"input": text, "model": "embedder"}
    content = json.dumps(dict(reversed(body.items())) if at else body, indent=at).encode()  # the same, said otherwise
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    return caller.gateways[at].http.post(EMBEDDINGS, content=content, access_token=caller.token, headers=headers)


def uploaded(caller: Caller, text: str, key: str, at: int) -> httpx2.Response:
    boundary = f"boundary-{at}"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    form = f'{part}model"\r\n\r\nwhisper-1\r\n{part}prompt"\r\n\r\n{text}\r\n'
    form += f'{part}file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF{key}\r\n--{boundary}--\r\n'
    headers = {"Idempotency-Key": key, "Content-Type": f"multipart/form-data; boundary={boundary}"}
    return caller.gateways[at].http.post(SOUND, content=form.encode(), access_token=caller.token, headers=headers)


Way = Callable[[Caller, str, str, int], httpx2.Response]


def expire(world: World) -> str:
    """Make the newest key expire; its user's id."""
    keys = idempotency_keys.c
    newest = keys.expires_at == select(func.max(keys.expires_at)).scalar_subquery()
    with world.database.write() as connection:
        (owner,) = connection.execute(select(keys.user_id).where(newest)).scalars()
        connection.execute(update(idempotency_keys).where(newest).values(expires_at=LONG_AGO))
    return str(owner)


def owners(world: World) -> set[str]:
    """The ids of all users that have a key."""
    with world.database.read() as connection:
        return set(connection.execute(select(idempotency_keys.c.user_id)).scalars())


REFUSE = {
    "sqlite": ["CREATE TRIGGER refuse BEFORE UPDATE OF reply ON idempotency_keys BEGIN SELECT RAISE(ABORT, 'no'); END"],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$",
        "CREATE TRIGGER refuse BEFORE UPDATE OF reply ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}
ALLOW = {"sqlite": ["DROP TRIGGER refuse"], "postgresql": ["DROP FUNCTION refuse CASCADE"]}


@contextmanager
def refusing_replies(database_url: str) -> Iterator[None]:
    """The database keeps no replies."""
    with world_of(database_url) as world:
        _change(world, REFUSE)
        yield
        _change(world, ALLOW)


def _change(world: World, statements: dict[str, list[str]]) -> None:
    with world.database.write() as connection:
        for statement in statements[connection.dialect.name]:
            connection.execute(text(statement))
