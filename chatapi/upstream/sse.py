"""Server-sent events, parsed: bytes in, events out, however the network has cut them. What is only relayed is not
parsed (`scanner`).

Source: the WHATWG HTML standard, "Server-sent events" (lines end in CR, LF or CRLF, `:` begins a comment, a blank line
ends an event); what is inside an event is OpenAI's API reference, `chat.completion.chunk`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.produced import produced_text, shown_text

LARGEST_EVENT_BYTES = 16 * 1024 * 1024
LINE_OVERHEAD_BYTES = 64  # what Python needs to keep a line, so that a million empty ones are not free
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    Args:
        data: the payload, as it came (made valid UTF-8 if it was not).
        done: whether this is `[DONE]`.
        text: what choice 0 says here, content or refusal.
        counted_text: everything that the model produced here, in all choices: also tool calls and shown reasoning.
        usage: the usage, if this event reports one that makes sense.
        usage_only: whether the event is there for its usage alone (`choices` is empty).
        began: the indices of the choices in this event.
        ended: the indices of the choices that have a finish reason in it.
        upstream_id: the upstream's own id of the answer.
        error: the upstream's error object, where the event is one; a stream raises it and never hands it out.
    """

    data: bytes
    done: bool = False
    text: str = ""
    counted_text: str = ""
    usage: Usage | None = None
    usage_only: bool = False
    began: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    upstream_id: str | None = None
    error: dict[str, object] | None = None

    @property
    def finished(self) -> bool:
        """Whether a choice ends in this event."""
        return bool(self.ended)


class Splitter:
    """Turns chunks of bytes into events. One instance a stream."""

    def __init__(self, *, largest_event_bytes: int = LARGEST_EVENT_BYTES) -> None:
        self._largest_event_bytes = largest_event_bytes
        self._line = bytearray()  # the line that has not ended yet
        self._data: list[bytes] = []  # the data lines of the event that has not ended yet
        self._data_bytes = 0
        self._name = b""
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the events that they complete.

        Raises:
            UpstreamBroken: an event is larger than allowed, or is no JSON object.
        """
        if self._at_start:
            chunk = bytes(self._line) + chunk
            self._line.clear()
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                self._line += chunk  # too little to tell whether it is a byte order mark
                return []
            chunk = chunk.removeprefix(BOM)
            self._at_start = False
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return self._take(chunk)

    def end(self) -> list[Event]:
        """The upstream has ended; return the event that lacks nothing but its blank line, if there is one."""
        try:
            return self._take(b"\n\n")
        except UpstreamBroken:
            return []  # half an event: whether that matters is for the stream to say

    def _take(self, chunk: bytes) -> list[Event]:
        *lines, rest = chunk.split(b"\n")
        events: list[Event] = []
        for line in lines:
            if self._line:
                self._line += line
                whole = bytes(self._line)
                self._line.clear()
            else:
                whole = line
            self._bound(len(whole))
            if whole:
                self._field(whole)
            elif (event := self._dispatch()) is not None:
                events.append(event)
        self._line += rest
        self._bound(len(self._line))
        return events

    def _bound(self, line_bytes: int) -> None:
        if line_bytes + self._data_bytes > self._largest_event_bytes:
            raise UpstreamBroken("the upstream sent an event that is too large", may_have_run=True)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + LINE_OVERHEAD_BYTES
        elif name == b"event":
            self._name = value

    def _dispatch(self) -> Event | None:
        data, name = b"\n".join(self._data), self._name
        self._data.clear()
        self._data_bytes = 0
        self._name = b""
        return read_event(data, name) if data.strip() else None


def read_event(data: bytes, name: bytes = b"") -> Event:
    """Read the payload of one event.

    Raises:
        UpstreamBroken: it is neither `[DONE]` nor a JSON object.
    """
    if data.strip() == DONE:
        return Event(DONE, done=True)
    try:
        chunk = json_text.loads(data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise UpstreamBroken("the upstream sent an event that is no JSON object", may_have_run=True)
    error = chunk.get("error") or (chunk if name.strip() == b"error" else None)
    own_id = chunk.get("id")
    choices = [choice for choice in _list(chunk.get("choices")) if isinstance(choice, dict)]
    return Event(
        data=_valid_utf8(data),
        text="".join(shown_text(choice, "delta") for choice in choices if _index(choice) == 0),
        counted_text="".join(produced_text(choice, "delta") for choice in choices),
        usage=Usage.reported(chunk.get("usage")),
        usage_only=chunk.get("choices") == [] and isinstance(chunk.get("usage"), dict),
        began=frozenset(map(_index, choices)),
        ended=frozenset(_index(choice) for choice in choices if choice.get("finish_reason")),
        upstream_id=own_id if isinstance(own_id, str) else None,
        error=error if error is None or isinstance(error, dict) else {"message": str(error)},
    )


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _valid_utf8(data: bytes) -> bytes:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data
