"""A stream of server-sent events, relayed by its bytes: whole events out as they come in, nothing parsed on the way.

What comes out is the same however the network has cut what comes in: each event with its own lines, ended by one blank
line. Line ends become LF, empty events and what follows `[DONE]` are left out. Most streams consist of events that are
one line of `data:` and one JSON object; those pass by a regular expression in C, whatever their number. Only what looks
like a report of usage, an error or the end is looked at by itself.

Source: as `sse`.
"""

from __future__ import annotations

import re

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.sse import BOM, DONE, DONE_EVENT, LARGEST_EVENT_BYTES, payload

PLAIN = re.compile(rb"(?:data: ?\{[^\n]*+(?<=\})\n\n)++")
BLANK_LINES = re.compile(rb"\n\n+")
# A quotation mark inside a JSON string is escaped, so these cannot be met in what a model says.
REPORT = re.compile(rb'"usage"\s*:\s*\{')
ERROR = re.compile(rb'"error"\s*+:\s*+(?!null\b)')
NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
MOST_REPORTS = 32
"""Of usage, that are kept. Servers that report as they go say more each time, so the last ones are what matters."""


class Scanner:
    """Takes bytes as they come and gives those that may be relayed. One instance a stream.

    Args:
        pass_usage: whether an event that is there for its usage alone is relayed.
    """

    plain = PLAIN
    """What passes unseen, but for reports of usage and what `mark` finds where `hint` is."""
    hint = b'"error"'
    mark = ERROR
    ending = DONE_EVENT
    """What a stream ends in that came to its end without saying so."""
    may_end = False
    """Whether the stream is whole if the upstream ends it here without saying so."""

    __slots__ = (
        "_after_cr", "_at_start", "_largest_event_bytes", "_more", "_more_bytes", "_pass_usage", "_reports", "_rest",
        "broken", "done", "error",
    )  # fmt: skip

    def __init__(self, *, pass_usage: bool, largest_event_bytes: int = LARGEST_EVENT_BYTES) -> None:
        self.done = False
        """Whether `[DONE]` has come; it is among the bytes that were given last."""
        self.error: dict[str, object] | None = None
        """The upstream's error, where it sent one; what came before it has been given."""
        self.broken: UpstreamBroken | None = None
        """Why the stream cannot go on, where it cannot; as above."""
        self._pass_usage = pass_usage
        self._largest_event_bytes = largest_event_bytes
        self._rest = b""  # the event that has not ended yet
        self._more: list[bytes] = []  # and what came of it later
        self._more_bytes = 0
        self._at_start = True
        self._after_cr = False
        self._reports: list[bytes] = []

    @property
    def over(self) -> bool:
        """Whether nothing that comes is of interest any more."""
        return self.done or self.error is not None or self.broken is not None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give the events that they complete and that may be relayed."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._in_lf(chunk)
        if self._more or self._rest:
            chunk = self._joined(chunk)
            if not chunk:
                return b""
        end = chunk.rfind(b"\n\n") + 2
        if end < 2:
            self._rest = chunk
            if len(chunk) > self._largest_event_bytes:
                self._break("an event that is too large")
            return b""
        if end == len(chunk):
            self._rest = b""
        else:
            self._rest = chunk[end:]
            chunk = chunk[:end]
        if self._at_start:
            self._at_start = False
            chunk = chunk.removeprefix(BOM)
        if (
            not self.plain.fullmatch(chunk)
            or (b'"usage"' in chunk and REPORT.search(chunk))
            or (self.hint in chunk and self.mark.search(chunk))
        ):
            return self._one_by_one(chunk)
        return chunk if chunk.isascii() else _in_utf8(chunk)

    def end(self) -> bytes:
        """The upstream has ended; give the event that lacks nothing but its blank line, if there is one."""
        rest = self._rest + b"".join(self._more)
        if self._at_start:
            rest = rest.removeprefix(BOM)
        self._rest, self._more = b"", []
        data = payload(rest)
        if data.strip() != DONE:
            try:
                json_text.loads(data)
            except ValueError:
                return b""  # half an event: whether that matters is for the stream to say
        return self._one_by_one(rest)

    def usage(self) -> Usage | None:
        """The largest usage that was reported: some servers report as they go, and some each choice by itself."""
        largest: Usage | None = None
        for event in self._reports:
            said = loads(payload(event))
            usage = Usage.reported(said.get("usage"), service_tier=said.get("service_tier"))
            if usage is not None and (largest is None or usage.total_tokens >= largest.total_tokens):
                largest = usage
        return largest

    def _in_lf(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _joined(self, chunk: bytes) -> bytes:
        """What has come of the event so far and this, where that may end it; else keep both, and give nothing."""
        before = self._more[-1] if self._more else self._rest
        if b"\n\n" in chunk or (chunk.startswith(b"\n") and before.endswith(b"\n")):
            chunk = b"".join((self._rest, *self._more, chunk))
            self._more, self._more_bytes = [], 0
            return chunk
        if chunk:
            self._more.append(chunk)
            self._more_bytes += len(chunk)
            if len(self._rest) + self._more_bytes > self._largest_event_bytes:
                self._break("an event that is too large")
        return b""

    def _one_by_one(self, block: bytes) -> bytes:
        relayed: list[bytes] = []
        for piece in BLANK_LINES.split(block):
            event = piece.strip(b"\n")
            if event and self._may_pass(event):
                relayed.append(event if event.isascii() else _in_utf8(event))
            if self.over:
                break
        return b"".join([event + b"\n\n" for event in relayed])

    def _may_pass(self, event: bytes) -> bool:
        data = payload(event)
        stripped = data.strip()
        if not stripped:
            return True  # a comment, or a field that says nothing
        if stripped == DONE:
            self.done = True
            return True
        if len(data) > self._largest_event_bytes:
            self._break("an event that is too large")
            return False
        return self._judge(event, data)

    def _judge(self, event: bytes, data: bytes) -> bool:
        """Whether an event that carries something may pass; what it means for the stream is noted."""
        stripped = data.strip()
        if not (stripped.startswith(b"{") and stripped.endswith(b"}")):
            self._break("an event that is no JSON object")
            return False
        if (ERROR.search(data) or is_named_error(event)) and not self._is_no_error(event, data):
            return False
        if not REPORT.search(data):
            return True
        self._reports = [*self._reports[1 - MOST_REPORTS :], event]
        return self._pass_usage or not (NO_CHOICES.search(data) and _is_usage_only(data))

    def _is_no_error(self, event: bytes, data: bytes) -> bool:
        value = loads(data)
        error = value.get("error") or (value if is_named_error(event) else None)
        if error is not None:
            self.error = error if isinstance(error, dict) else {"message": str(error)}
        return error is None

    def _break(self, what: str) -> None:
        self.broken = UpstreamBroken(f"the upstream sent {what}", may_have_run=True)


def is_named_error(event: bytes) -> bool:
    """Whether the event's name says that it is an error."""
    return b"event:" in event and any(
        line.startswith(b"event:") and line[6:].strip() == b"error" for line in event.split(b"\n")
    )


def _is_usage_only(data: bytes) -> bool:
    value = loads(data)
    return value.get("choices") == [] and isinstance(value.get("usage"), dict)


def loads(data: bytes) -> dict[str, object]:
    """The object that the payload says; an empty one where it is none."""
    try:
        value = json_text.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _in_utf8(data: bytes) -> bytes:
    """The same, with what is no UTF-8 replaced."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data
