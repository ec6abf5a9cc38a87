"""An upstream that fails on demand: a small OpenAI-compatible server whose behaviour the request itself chooses.

The model's name or the last message may contain `fault:<kind>`; without one it answers `reply_to(text)`. Kinds:

    status-NNN     answers with this status and OpenAI's error object (its message holds a secret, `SECRET`)
    hang           accepts the request and never answers
    disconnect     closes the connection without an answer
    garbage        answers 200 with something that is no JSON
    empty          answers with an empty text
    cut            sends half of the answer, then closes the connection
    cut-clean      sends half of the stream, then ends it as if all were well, with neither finish_reason nor [DONE]
    error-event    sends half of the stream, then an error event
    silent         sends half of the stream, then nothing more, without closing
    slow           pauses `PAUSE_S` before each piece
    no-usage       leaves the usage out
    usage-NNN      claims NNN completion tokens
    usage-early    puts the usage on the finish chunk and leaves [DONE] out
    gate-NAME      waits for `open_gate(NAME)` before it answers

Every request is kept in `served`, with its headers, its body and the gateway's id of the call.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "sk-secret-that-nobody-may-see"
PAUSE_S = 0.1
LONGEST_SILENCE_S = 60.0
CALL_ID_HEADER = "x-chatapi-call-id"
PROMPT_TOKENS = 11
_FAULT = re.compile(r"fault:([\w-]+)")
_ERROR_TYPES = {401: "invalid_request_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}


def reply_to(text: str) -> str:
    """What this upstream answers to a last message, where nothing fails."""
    return f"You said: {text} ¿Qué más? もちろん 🙂"


def pieces_of(reply: str) -> list[str]:
    """The pieces in which a reply is streamed; as many are the completion tokens that are reported."""
    return re.findall(r"\S+\s*", reply)


@dataclass
class Served:
    """One request as this upstream saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    fault: str
    sent_pieces: int = 0
    aborted: bool = field(default=False)

    @property
    def call_id(self) -> str | None:
        """The id that the gateway gave the call."""
        return self.headers.get(CALL_ID_HEADER)

    @property
    def text(self) -> str:
        """The last message's text."""
        return last_text(self.body)


def last_text(body: dict[str, Any]) -> str:
    """The text of the last message of a chat completion's body."""
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content") or ""
    return (
        content
        if isinstance(content, str)
        else "".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    )


class FaultyUpstream:
    """The running server. `url` ends in `/v1`, as `OPENAI_BASE_URL` wants it."""

    def __init__(self) -> None:
        self.served: list[Served] = []
        self.default_fault = ""
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def about(self, marker: str) -> list[Served]:
        """The requests whose last message contains `marker`."""
        return [request for request in list(self.served) if marker in request.text]

    def await_about(self, marker: str, *, count: int = 1, patience_s: float = 10.0) -> list[Served]:
        """Wait until `count` requests about `marker` have come, and return them."""
        deadline = time.monotonic() + patience_s
        while len(found := self.about(marker)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} requests about {marker!r} came"
            time.sleep(0.01)
        return found

    def open_gate(self, name: str) -> None:
        """Let go on every request that waits, or will wait, at `fault:gate-NAME`."""
        self.gates[name].set()

    def close(self) -> None:
        """End the server and every request that hangs in it."""
        self.closing.set()
        for gate in list(self.gates.values()):
            gate.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, upstream: FaultyUpstream) -> None:
        self.upstream = upstream
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `served` has it all."""

    def do_GET(self) -> None:
        """The list of models."""
        self._send_json(200, {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "tests"}]})

    def do_POST(self) -> None:
        """A chat completion, as the request wants it to go."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        upstream = self.server.upstream
        found = _FAULT.search(f"{body.get('model')} {last_text(body)}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        served = Served(self.path, headers, body, found[1] if found else upstream.default_fault)
        upstream.served.append(served)
        try:
            self._answer(served)
        except OSError:
            served.aborted = True
            self.close_connection = True

    def _answer(self, served: Served) -> None:
        kind, _, argument = served.fault.partition("-")
        upstream = self.server.upstream
        if kind == "gate":
            upstream.gates[argument].wait(LONGEST_SILENCE_S)
        if kind == "status":
            self._send_json(int(argument), _error(int(argument)))
        elif kind == "hang":
            upstream.closing.wait(LONGEST_SILENCE_S)
            self.close_connection = True
        elif kind == "disconnect":
            self.close_connection = True
        elif kind == "garbage":
            self._send(200, b"<html>no JSON at all</html>", "text/html")
        elif served.body.get("stream"):
            self._stream(served)
        else:
            self._complete(served)

    def _complete(self, served: Served) -> None:
        reply = "" if served.fault == "empty" else reply_to(served.text)
        choices = [
            {"index": index, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}
            for index in range(served.body.get("n") or 1)
        ]
        answer = {
            "id": _completion_id(served),
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": served.body.get("model"),
            "choices": choices,
            "an_unknown_field": {"kept": True},
        }
        if served.fault != "no-usage":
            answer["usage"] = _usage(served, reply)
        if served.fault == "cut":
            content = json.dumps(answer).encode()
            self._send(200, content[: len(content) // 2], "application/json", length=len(content))
            self.close_connection = True
        else:
            self._send_json(200, answer)

    def _stream(self, served: Served) -> None:
        self.send_response(200)
        for name, value in _headers("text/event-stream"):
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in _events(served):
            self._send_chunk(f"data: {event}\n\n".encode())
            served.sent_pieces += 1
            if served.fault == "slow":
                time.sleep(PAUSE_S)
        if served.fault == "silent":
            self.server.upstream.closing.wait(LONGEST_SILENCE_S)
        if served.fault in {"cut", "silent"}:
            self.close_connection = True
        else:
            self._send_chunk(b"")

    def _send_chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def _send_json(self, status: int, body: object) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, content_type: str, *, length: int | None = None) -> None:
        self.send_response(status)
        for name, value in _headers(content_type):
            self.send_header(name, value)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)


def _headers(content_type: str) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("x-request-id", "upstream-request-1")]


def _error(status: int) -> dict[str, object]:
    message = f"The upstream says {status}. Incorrect API key provided: {SECRET}."
    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": f"upstream_{status}"}}


def _completion_id(served: Served) -> str:
    return f"chatcmpl-{served.call_id or 'unknown'}"


def _usage(served: Served, reply: str) -> dict[str, int]:
    kind, _, argument = served.fault.partition("-")
    completion = int(argument) if kind == "usage" and argument.isdigit() else len(pieces_of(reply))
    completion *= served.body.get("n") or 1
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": completion, "total_tokens": PROMPT_TOKENS + completion}


def _events(served: Served) -> Iterator[str]:
    """The payloads of a stream's events; those that break off end early."""
    reply = "" if served.fault == "empty" else reply_to(served.text)
    head = {
        "id": _completion_id(served),
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": served.body.get("model"),
    }
    asked = bool((served.body.get("stream_options") or {}).get("include_usage")) and served.fault != "no-usage"

    def event(delta: dict[str, str], finish: str | None = None, **more: object) -> str:
        # With include_usage every chunk but the last carries "usage": null, as OpenAI's reference has it.
        nothing_yet: dict[str, object] = {"usage": None} if asked else {}
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return json.dumps({**head, "choices": choices, **nothing_yet, **more})

    pieces = pieces_of(reply)
    if served.fault in {"cut", "cut-clean", "error-event", "silent"}:
        pieces = pieces[: len(pieces) // 2]
    yield event({"role": "assistant", "content": ""})
    for piece in pieces:
        yield event({"content": piece})
    if served.fault == "error-event":
        yield json.dumps(_error(500))
    if served.fault in {"cut", "cut-clean", "error-event", "silent"}:
        return
    if served.fault == "usage-early":
        yield event({}, "stop", usage=_usage(served, reply))
        return
    yield event({}, "stop")
    if asked:
        yield json.dumps({**head, "choices": [], "usage": _usage(served, reply)})
    yield "[DONE]"
