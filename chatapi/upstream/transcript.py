"""What was relayed of a stream, kept small: its bytes, of which the older ones are compressed.

The events of a stream resemble each other, so what is kept takes about a twentieth of what was sent. It is read only
when a stream ends without a report of usage, or in a way that needs looking into.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

from chatapi.errors import UpstreamBroken
from chatapi.upstream.sse import Event, payloads, read_event

PLAIN_BYTES = 16 * 1024
"""So much may lie here as it came. Compressing as much takes 0.1 ms."""


class Transcript:
    """Whole events, in the order in which they were relayed; `read` says what is in one."""

    __slots__ = ("_beginning", "_compressed", "_plain", "_plain_bytes", "_read")

    def __init__(self, read: Callable[[bytes], Event] = read_event) -> None:
        self._read = read
        self._compressed: list[bytes] = []
        self._plain: list[bytes] = []
        self._plain_bytes = 0
        self._beginning = b""

    def add(self, block: bytes) -> None:
        """Keep these events, which are relayed now."""
        if not self._beginning and b'"id"' in block:
            self._beginning = block
        self._plain.append(block)
        self._plain_bytes += len(block)
        if self._plain_bytes > PLAIN_BYTES:
            self._compressed.append(zlib.compress(b"".join(self._plain), 1))
            self._plain, self._plain_bytes = [], 0

    def upstream_id(self) -> str | None:
        """The id that the upstream gives its reply in the first events."""
        return next((event.upstream_id for event in self._events(self._beginning) if event.upstream_id), None)

    def events(self) -> Iterator[Event]:
        """All events, parsed."""
        for block in self._compressed:
            yield from self._events(zlib.decompress(block))
        for block in self._plain:
            yield from self._events(block)

    def counted_text(self) -> str:
        """Everything that the model produced."""
        return "".join([event.counted_text for event in self.events()])

    def ended(self) -> bool:
        """Whether every choice that began has its finish reason, and there was one."""
        began: set[int] = set()
        ended: set[int] = set()
        for event in self.events():
            began |= event.began
            ended |= event.ended
        return bool(ended) and began <= ended

    def _events(self, block: bytes) -> Iterator[Event]:
        """Its events. One that makes no sense was relayed all the same: what is in it is taken for produced text."""
        for data in payloads(block):
            try:
                yield self._read(data)
            except UpstreamBroken:
                yield Event(counted_text=data.decode("utf-8", "replace"))


class NoTranscript(Transcript):
    """Of what nobody could count: images and sound, which are large."""

    __slots__ = ()

    def add(self, block: bytes) -> None:
        """Forget it."""
