"""What is behind the gateway: aimock as a process, and a recorder that takes down what any upstream says."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.clients.ledger import Log, Reported, Unreported
from tests.support.faults import CALL_ID_HEADER
from tests.support.processes import clean_environment, end

PROGRAMS = Path(__file__).resolve().parent / "programs"
NOT_PASSED_ON = {"host", "connection", "transfer-encoding", "content-length", "keep-alive"}


class Aimock:
    """A running aimock. `url` ends in `/v1`."""

    def __init__(self, node: str) -> None:
        self._process = subprocess.Popen(
            [node, str(PROGRAMS / "aimock.mjs")],
            env=clean_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"aimock did not start: exit status {self._process.wait()}")

    def close(self) -> None:
        """End it."""
        end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the upstream said to one call."""

    path: str
    status: int
    body: bytes
    whole: bool


class Recorder:
    """Stands before an upstream, passes everything on as it comes, and keeps the answers by the gateway's call ids."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream = urlsplit(upstream_url)
        self.answers: dict[str, Answer] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.recorder = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{self.upstream.path}"

    def log(self) -> Log:
        """What it reported of each call."""
        return {call: said(answer) for call, answer in list(self.answers.items())}

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    recorder: Recorder


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _pass_on(self) -> None:
        upstream = self.server.recorder.upstream
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_PASSED_ON}
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=30)
        connection.request(self.command, self.path, content or None, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        body, whole = b"", True
        try:
            while piece := answer.read1(65536):
                body += piece
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except (http.client.HTTPException, ConnectionError):
            whole = False
        connection.close()
        call = self.headers.get(CALL_ID_HEADER)
        if call is not None:  # before the client can know that this is the end
            self.server.recorder.answers[call] = Answer(self.path, answer.status, body, whole)
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = not whole


def said(answer: Answer) -> Reported | Unreported:
    """The usage in an answer, plain or streamed: the last that there is."""
    if answer.status != 200:
        return Reported(status=answer.status)
    if not answer.whole:
        return Unreported(whole=False)
    usages = [usage for usage in map(_usage_in, _objects(answer.body)) if usage]
    if not usages:
        return Unreported()
    usage = usages[-1]
    prompt = usage.get("prompt_tokens", usage.get("input_tokens"))
    if not prompt:  # nothing is answered to nothing: such a report is not believed
        return Unreported()
    completion = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    prompt_details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    cached, reasoning = prompt_details.get("cached_tokens") or 0, details.get("reasoning_tokens") or 0
    return Reported(prompt, completion, cached, reasoning)


def _objects(body: bytes) -> list[dict[str, Any]]:
    if body.lstrip().startswith(b"{"):
        return [json.loads(body)]
    lines = (line.removeprefix(b"data:").strip() for line in body.splitlines() if line.startswith(b"data:"))
    return [json.loads(line) for line in lines if line.startswith(b"{")]


def _usage_in(said: dict[str, Any]) -> dict[str, Any] | None:
    return said.get("usage") or (said.get("response") or {}).get("usage")
