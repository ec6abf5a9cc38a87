"""A streamed answer: blocks of whole events out of an exchange, and the judgement whether it came to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken, UpstreamError
from chatapi.upstream.said import stream_error

if TYPE_CHECKING:
    from chatapi.upstream.exchange import Exchange
    from chatapi.upstream.scanner import Scanner
    from chatapi.upstream.transcript import Transcript

EVENT_STREAM = "text/event-stream"


class UpstreamStream:
    """The events of one answer, as bytes. Iterate in one thread or greenlet; `close()` from any.

    The iteration ends cleanly after the event that says so (`[DONE]`), or when the upstream ends, breaks off or falls
    silent after every choice that began has had its finish reason: some servers send no `[DONE]`, so its absence says
    nothing. Else it raises.

    Args:
        exchange: where the bytes come from.
        scanner: makes whole events of them.
        transcript: keeps what was relayed.
    """

    __slots__ = ("_blocks", "_exchange", "_scanner", "_transcript", "content_type")

    def __init__(self, exchange: Exchange, scanner: Scanner, transcript: Transcript) -> None:
        self.content_type = EVENT_STREAM
        self._exchange = exchange
        self._scanner = scanner
        self._transcript = transcript
        self._blocks = self._read()

    @property
    def ending(self) -> bytes:
        """What such a stream ends in, where the upstream has ended without it."""
        return self._scanner.ending

    @property
    def done(self) -> bool:
        """Whether the event that ends the stream has come; it is the end of the last block."""
        return self._scanner.done

    @property
    def upstream_id(self) -> str | None:
        """The upstream's own id of the request or, failing that, of the reply."""
        return self._exchange.upstream_id or self._transcript.upstream_id()

    def __iter__(self) -> Iterator[bytes]:
        """One or several whole events at a time, as they come; each block once, and never an empty one.

        Raises:
            UpstreamTimeout: silence for too long, or the call's deadline has passed.
            UpstreamBroken: it broke off, sent an error or made no sense, or was closed.
        """
        return self._blocks

    def usage(self) -> Usage | None:
        """The largest usage that was reported so far."""
        return self._scanner.usage()

    def counted_text(self) -> str:
        """Everything that the model produced in the blocks so far, in all choices: also tool calls and reasoning."""
        return self._transcript.counted_text()

    def close(self) -> None:
        """Cancel the answer, or give back the connection of one that is whole. Idempotent.

        An iteration that blocks elsewhere ends at once with UpstreamBroken.
        """
        if self._scanner.done:
            self._exchange.finish()
        else:
            self._exchange.close()

    def _read(self) -> Iterator[bytes]:
        feed, keep = self._scanner.feed, self._transcript.add
        try:
            for chunk in self._exchange.chunks():
                block = feed(chunk)
                if block:
                    keep(block)
                    yield block
                if self._scanner.over:
                    self._check()
                    return
            yield from self._end()
        except UpstreamError:
            if self._scanner.over or self._exchange.cut_here or not self._transcript.ended():
                raise
            yield from self._end()
        finally:
            self.close()

    def _end(self) -> Iterator[bytes]:
        """The upstream has ended without saying so."""
        block = self._scanner.end()
        if block:
            self._transcript.add(block)
            yield block
        self._check()
        if not self._scanner.done and not self._scanner.may_end and not self._transcript.ended():
            raise UpstreamBroken("the upstream broke off its answer", may_have_run=True)

    def _check(self) -> None:
        if self._scanner.error is not None:
            raise stream_error({"error": self._scanner.error}, self._exchange.key)
        if self._scanner.broken is not None:
            raise self._scanner.broken
