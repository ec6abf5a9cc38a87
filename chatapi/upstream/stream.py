"""A streamed answer: events out of an exchange, and the judgement whether it came to its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatapi.errors import UpstreamBroken, UpstreamError
from chatapi.upstream.said import stream_error
from chatapi.upstream.sse import Event, Splitter

if TYPE_CHECKING:
    from chatapi.upstream.exchange import Exchange


class UpstreamStream:
    """The events of one answer. Iterate in one thread or greenlet; `close()` from any.

    The iteration ends cleanly after `[DONE]`, or when the upstream ends, breaks off or falls silent after every choice
    that began has had its finish reason: some servers send no `[DONE]`, so its absence says nothing. Else it raises.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._splitter = Splitter()
        self._began: set[int] = set()
        self._ended: set[int] = set()
        self._done = False
        self._events = self._read()
        self.upstream_id = exchange.upstream_id

    def __iter__(self) -> Iterator[Event]:
        """The events, each once.

        Raises:
            UpstreamTimeout: silence for too long, or the call's deadline has passed.
            UpstreamBroken: it broke off, sent an error or made no sense, or was closed.
        """
        return self._events

    def close(self) -> None:
        """Cancel the answer, or give back the connection of one that is whole. Idempotent.

        An iteration that blocks elsewhere ends at once with UpstreamBroken.
        """
        if self._done:
            self._exchange.finish()
        else:
            self._exchange.close()

    def _read(self) -> Iterator[Event]:
        try:
            for event in self._all_events():
                if event.error is not None:
                    raise stream_error({"error": event.error}, self._exchange.key)
                self.upstream_id = self.upstream_id or event.upstream_id
                self._began |= event.began
                self._ended |= event.ended
                self._done = event.done
                yield event
                if event.done:
                    return
        finally:
            self.close()

    def _all_events(self) -> Iterator[Event]:
        try:
            for chunk in self._exchange.chunks():
                yield from self._splitter.feed(chunk)
        except UpstreamError:
            if self._exchange.cut_here or not self._whole:
                raise
        yield from self._splitter.end()
        if not self._whole:
            raise UpstreamBroken("the upstream broke off its answer", may_have_run=True)

    @property
    def _whole(self) -> bool:
        """Whether every choice that began has ended, and there was one."""
        return bool(self._ended) and self._began <= self._ended
