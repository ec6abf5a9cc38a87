"""Answers that are relayed as they come and are no events: sound, and what came whole where a stream was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from chatapi.domain.usage import Usage
from chatapi.upstream.reply import UpstreamReply

if TYPE_CHECKING:
    from chatapi.upstream.exchange import Exchange

UNKNOWN_TYPE = "application/octet-stream"


def sound_type(content_type: str) -> str:
    """The media type that clients are told of what an upstream says is one: a browser must not take it for a page."""
    return content_type if content_type.startswith("audio/") and content_type.isascii() else UNKNOWN_TYPE


class RelayedStream(Protocol):
    """An answer that is relayed as it comes, in blocks. Iterate in one thread or greenlet; `close()` from any."""

    content_type: str

    @property
    def ending(self) -> bytes:
        """What such a stream ends in, where the upstream has ended without it."""

    @property
    def done(self) -> bool:
        """Whether the block that was given last is the last one."""

    @property
    def upstream_id(self) -> str | None:
        """The upstream's own id."""

    def __iter__(self) -> Iterator[bytes]:
        """The blocks, as they come, and never an empty one."""

    def usage(self) -> Usage | None:
        """The usage that was reported so far."""

    def counted_text(self) -> str:
        """Everything that the model produced so far and that can be counted."""

    def close(self) -> None:
        """Give the answer up, or its connection back."""


class ByteStream:
    """The bytes of one answer.

    Args:
        exchange: where they come from.
        content_type: the media type that the client is told.
    """

    def __init__(self, exchange: Exchange, content_type: str) -> None:
        self.content_type = content_type
        self.ending = b""
        self.done = False
        self._exchange = exchange

    @property
    def upstream_id(self) -> str | None:
        """The upstream's own id of the request."""
        return self._exchange.upstream_id

    def __iter__(self) -> Iterator[bytes]:
        """The bytes as they come, each piece one behind the upstream, so that the last is known as such.

        Raises:
            UpstreamError: it broke off.
        """
        before = b""
        try:
            for chunk in self._exchange.chunks():
                if before:
                    yield before
                before = chunk
        finally:
            self._exchange.close()
        self.done = True
        if before:
            yield before

    def usage(self) -> Usage | None:
        """None: sound says nothing about it."""
        return None

    def counted_text(self) -> str:
        """Nothing: sound has no tokens that could be counted here."""
        return ""

    def close(self) -> None:
        """Give up what has not come. Idempotent."""
        self._exchange.close()


class WholeStream:
    """A whole reply, in one block."""

    def __init__(self, reply: UpstreamReply) -> None:
        self.content_type = reply.content_type
        self.ending = b""
        self.done = False
        self.upstream_id = reply.upstream_id
        self._reply = reply

    def __iter__(self) -> Iterator[bytes]:
        """The reply."""
        self.done = True
        yield self._reply.body

    def usage(self) -> Usage | None:
        """What it reports."""
        return self._reply.usage

    def counted_text(self) -> str:
        """What the model produced."""
        return self._reply.counted_text

    def close(self) -> None:
        """There is nothing to close."""
