"""The server: asyncio protocols by hand, one per connection, which answer one request after the other."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from bench.emulator import replies
from bench.emulator.replies import Plan, Question
from bench.emulator.script import Script, UnknownModel, read_script

CALL_ID = b"x-chatapi-call-id"
END_OF_HEAD = b"\r\n\r\n"
BACKLOG = 4096
READERS = ((b"/chat/completions", Question.of), (b"/embeddings", Question.about))


class Log:
    """Appends one JSON object a line, each in a write of its own. Without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one entry."""
        if self._file is not None:
            os.write(self._file, orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))


class Ids:
    """Ids of replies: 36 characters, unique also over restarts."""

    def __init__(self) -> None:
        self._prefix = f"chatcmpl-{secrets.token_hex(6)}"
        self._numbers = count()

    def next(self) -> str:
        """The next one."""
        return f"{self._prefix}{next(self._numbers):015d}"


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, log: Log, ids: Ids) -> None:
        self._log = log
        self._ids = ids
        self._buffer = b""
        self._answer: _Answer | None = None
        self._last = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None:
            self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._answer.client_left()
            self._answer = None

    def pause_writing(self) -> None:
        if self._answer is not None:
            self._answer.paused = True

    def resume_writing(self) -> None:
        if self._answer is not None:
            self._answer.resume()

    def answered(self) -> None:
        """The answer has ended and the connection is kept, if the client wants that: take what it has asked next."""
        self._answer = None
        if self._last:
            self.transport.close()
        elif self._buffer:
            self._take()

    def _take(self) -> None:
        end = self._buffer.find(END_OF_HEAD)
        if end < 0:
            return
        line, *lines = self._buffer[:end].split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if b"transfer-encoding" in headers:
            self.transport.write(replies.error(411, "The emulator wants a Content-Length.", b"Connection: close\r\n"))
            self.transport.close()
            return
        end += len(END_OF_HEAD)
        size = int(headers.get(b"content-length", 0))
        if len(self._buffer) < end + size:
            return
        body, self._buffer = self._buffer[end : end + size], self._buffer[end + size :]
        self._serve(line, headers, body)

    def _serve(self, line: bytes, headers: dict[bytes, bytes], content: bytes) -> None:
        _, path, _ = line.split(b" ", 2)
        path = path.partition(b"?")[0]
        self._last = headers.get(b"connection", b"").lower() == b"close"
        read = next((read for ending, read in READERS if path.endswith(ending)), None)
        if read is not None:
            body = orjson.loads(content)
            self._answer = _Answer(self, self._log, self._ids.next(), headers, read(body), body.get("user"))
            self._answer.begin()
            return
        known = path.endswith(b"/models")
        self.transport.write(replies.models() if known else replies.error(404, "There is no such path."))
        self.answered()


class _Answer:
    """The answer to one call, from its request to its end."""

    def __init__(
        self,
        connection: Connection,
        log: Log,
        reply_id: str,
        headers: dict[bytes, bytes],
        question: Question,
        user: object,
    ) -> None:
        self.paused = False
        self._connection = connection
        self._log = log
        self._id = reply_id
        self._question = question
        self._sent = 0
        self._status: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._plan: Plan | None = None
        self._script: Script | None = None
        call_id = headers.get(CALL_ID)
        self._entry = {
            "id": reply_id,
            "call": call_id.decode() if call_id else None,
            "model": self._question.model,
            "stream": self._question.stream,
            "user": user,
            "prompt_bytes": self._question.prompt_bytes,
        }

    def begin(self) -> None:
        """Log the arrival, and start."""
        question = self._question
        try:
            self._script = read_script(question.model)
        except UnknownModel as unknown:
            self._write_log("arrived", prompt_tokens=0)
            self._fail(404, f"The emulator does not know {unknown}, a part of the model's name.")
            return
        script = self._script
        self._entry["prompt_tokens"] = replies.asked_prompt_tokens(question, script)
        self._write_log("arrived")
        if script.hang:
            return
        if script.delay_s:
            self._timer = asyncio.get_running_loop().call_later(script.delay_s, self._open)
        else:
            self._open()

    def client_left(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._end("client_gone")

    def resume(self) -> None:
        """The client reads again."""
        if self.paused:
            self.paused = False
            if self._timer is None and self._plan is not None:
                self._step()

    def _open(self) -> None:
        assert self._script is not None
        self._timer = None
        if self._script.drop:
            self._end("fault")
            self._connection.transport.close()
        elif self._script.status is not None:
            retry = self._script.retry_after_s
            headers = b"" if retry is None else b"Retry-After: %d\r\n" % retry
            self._fail(self._script.status, f"The emulator was asked for {self._script.status}.", headers)
        else:
            self._status = 200
            self._plan = replies.plan(self._question, self._script, self._id)
            self._step()

    def _step(self) -> None:
        """Send the next piece; without a gap all of them, unless the client does not read."""
        assert self._plan is not None and self._script is not None
        self._timer = None
        pieces, gap_s, transport = self._plan.pieces, self._script.gap_s, self._connection.transport
        while self._sent < len(pieces):
            if self.paused or transport.is_closing():
                return
            transport.write(pieces[self._sent])
            self._sent += 1
            if gap_s and self._sent < len(pieces):
                self._timer = asyncio.get_running_loop().call_later(gap_s, self._step)
                return
        if self._plan.ending == "keep":
            self._end("served")
            self._connection.answered()
        elif self._plan.ending == "close":
            self._end("cut")
            transport.close()

    def _fail(self, status: int, message: str, headers: bytes = b"") -> None:
        self._status = status
        self._connection.transport.write(replies.error(status, message, headers))
        self._end("fault")
        self._connection.answered()

    def _end(self, how: str) -> None:
        if "how" in self._entry:
            return
        plan, sent = self._plan, self._sent
        whole = plan is not None and sent == len(plan.pieces)
        self._write_log(
            "ended",
            how=how,
            status=self._status,
            events=plan.counted[sent - 1] if plan and sent else 0,
            produced_tokens=plan.produced(sent) if plan else 0,
            completion_tokens=plan.reported if plan and whole else None,
        )

    def _write_log(self, what: str, **more: Any) -> None:
        self._entry.update(more)
        self._log.write({"log": what, "at": time.time(), **self._entry})


async def serve(host: str, port: int, log_path: Path | None) -> asyncio.Server:
    """Begin to serve; port 0 takes a free one."""
    log, ids = Log(log_path), Ids()
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(log, ids), host, port, backlog=BACKLOG)
