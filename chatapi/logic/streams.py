"""A metered stream: relays what comes, and settles exactly once, however it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import structlog

from chatapi.domain.calls import Charge
from chatapi.domain.idempotency import COMPLETED
from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken, UpstreamError
from chatapi.logic.admission import Admitted
from chatapi.logic.counting import counted
from chatapi.logic.running import CLIENT_GONE
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.sse import events_in

log = structlog.get_logger()


class MeteredStream:
    """The events of one admitted call. Whoever serves it calls `close()` when the client is done or gone."""

    def __init__(self, admitted: Admitted, stream: RelayedStream) -> None:
        self.grant = admitted.grant
        self.usage: Usage | None = None
        self.content_type = stream.content_type
        self.clamped = admitted.clamped
        self._admitted = admitted
        self._stream = stream
        self._closing = threading.Lock()
        self._closed = False
        admitted.call.on_finish(self.close)

    def blocks(self) -> Iterator[bytes]:
        """The upstream's events as they come, one or several whole ones at a time. The one that ends them (`[DONE]`),
        and what came with it, is given only when the settlement is written.

        Raises:
            UpstreamError: the stream broke; what was relayed until then is charged, and the client must not take the
            answer for whole.
        """
        stream, keeper = self._stream, self._admitted.keeper
        last = stream.ending
        try:
            for block in stream:
                if stream.done:
                    last = block
                    break
                if keeper is not None:
                    keeper.add(block)
                yield block
        except UpstreamError as error:
            raise self._broken(error) from error
        if keeper is not None and not self._closed:
            keeper.keep(last, self.content_type, self.clamped)
        self._settle(COMPLETED, answered=True)
        if last:
            yield last

    def texts(self) -> Iterator[str]:
        """What the first choice says, piece by piece.

        Raises:
            UpstreamError: as `blocks`; also when an event makes no sense.
        """
        for block in self.blocks():
            try:
                for event in events_in(block):
                    if event.text:
                        yield event.text
            except UpstreamError as error:
                raise self._broken(error) from error

    def close(self) -> None:
        """The client is done or gone: cancel the upstream, and settle what was relayed unless that is done already.

        A client that leaves was answered as far as it wished; one that this gateway cuts off was not.
        """
        reason = self._admitted.call.stop_reason
        self._settle(reason or "client_gone", answered=self._admitted.call.left_as_answered)

    def _broken(self, error: UpstreamError) -> UpstreamError:
        reason = self._admitted.call.stop_reason
        self._settle(reason or "upstream_error", answered=reason == CLIENT_GONE)
        return UpstreamBroken(f"the gateway ended it ({reason})", may_have_run=True) if reason else error

    def _settle(self, ended: str, *, answered: bool) -> None:
        with self._closing:
            if self._closed:
                return
            self._closed = True
        try:
            self._stream.close()
            charge = self._charge(whole=ended == COMPLETED, answered=answered)
        except Exception as error:
            log.error("stream_not_counted", call=self.grant.call.call_id, error=type(error).__qualname__)
            charge = Charge.at_hold(self.grant.call, answered=answered)
        self.usage = charge.usage
        self._admitted.call.settle(charge, ended, self._stream.upstream_id)

    def _charge(self, *, whole: bool, answered: bool) -> Charge:
        """Reported usage where it came; else what was relayed, counted; the hold if it cannot be.

        What was reported before a stream was cut may be short of what came after it, so the larger figure holds.
        """
        reported = self._stream.usage()
        if whole and reported is not None:
            return self._admitted.charge(reported, answered=answered)
        if reported is None and not self._admitted.request.countable:
            return Charge.at_hold(self.grant.call, answered=answered)
        relayed = counted(self._admitted, self._stream.counted_text())
        if reported is not None and reported.total_tokens >= relayed.total_tokens:
            return self._admitted.charge(reported, answered=answered)
        return self._admitted.charge(relayed, answered=answered)
