"""One request to an upstream and the bytes of its answer, with patience, a deadline, and a `close()` for anyone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

import httpx2
import openai

from chatapi.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from chatapi.upstream.said import key_in
from chatapi.upstream.targets import Timeouts
from chatapi.upstream.ticket import Ticket, holding
from chatapi.upstream.translate import UPSTREAM_FAULTS, translate
from chatapi.upstream.transport import Patience, PatientStream

PATH = "/chat/completions"
CALL_ID_HEADER = "X-ChatAPI-Call-Id"
UPSTREAM_ID_HEADER = "x-request-id"
UNREAD_HEADER = "X-Stainless-Raw-Response"
"""With the value "stream" the client leaves the body unread; its own `with_streaming_response` sends it, too."""
GRACE_AT_END_S = 0.2
"""How long to wait, after `[DONE]`, for the bytes that end the answer and make its connection good for another call."""


class Exchange:
    """An answer whose status has come. Iterate `chunks()` in one thread; `close()` from any."""

    def __init__(self, response: httpx2.Response, timeouts: Timeouts, started_at: float) -> None:
        stream = response.extensions.get("network_stream")
        self._response = response
        self._connection = stream if isinstance(stream, PatientStream) else None
        self._idle_timeout_s = timeouts.idle_s
        waited_s = time.monotonic() - started_at
        self._patience = Patience(timeouts.first_byte_s - waited_s, started_at + timeouts.deadline_s)
        if self._connection is not None:
            self._connection.patience = self._patience
        self._source = response.iter_bytes()
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    @property
    def upstream_id(self) -> str | None:
        """The upstream's own id of this request, if it gave one."""
        return self._response.headers.get(UPSTREAM_ID_HEADER)

    @property
    def key(self) -> str:
        """The key that the request was sent with."""
        return key_in(self._response.request.headers)

    @property
    def cut_here(self) -> bool:
        """Whether `close()` has been called."""
        return self._closed

    @property
    def content_type(self) -> str:
        """The answer's media type, in lower case, without parameters."""
        media_type: str = self._response.headers.get("content-type", "")
        return media_type.partition(";")[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """The answer's bytes as they come.

        Raises:
            UpstreamTimeout: silence for too long, or the deadline has passed.
            UpstreamBroken: it was cut, by the upstream or by `close()`.
        """
        while (chunk := self._read()) is not None:
            self._patience.read_timeout_s = self._idle_timeout_s
            yield chunk

    def finish(self) -> None:
        """Close, as all that matters has been read; what little is left is read first, to use the connection again."""
        if self._closed:
            return
        self._patience.deadline_at = time.monotonic() + GRACE_AT_END_S
        try:
            while self._read() is not None:
                pass
        except UpstreamError:
            pass  # the connection is lost, the answer is not
        finally:
            self.close()

    def close(self) -> None:
        """Give the answer up. Idempotent. A read that blocks elsewhere ends at once with UpstreamBroken."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._reading:  # the reader closes the response itself, as soon as the shutdown has woken it
                if self._connection is not None and self._connection.patience is self._patience:
                    self._connection.abort()
                return
        self._response.close()

    def _read(self) -> bytes | None:
        with self._lock:
            if self._closed or self._reading:
                raise _cut_here()
            self._reading = True
        try:
            chunk = next(self._source, None)
            if chunk is None and self._closed:  # a body without a length ends like this when its socket is shut down
                raise _cut_here()
            return chunk
        except UPSTREAM_FAULTS as error:
            raise self._fault(error) from error
        except ValueError as error:  # a TLS socket that was shut down under a reader says so with this
            if not self._closed:
                raise
            raise _cut_here() from error
        finally:
            with self._lock:
                self._reading = False
                closed = self._closed
            if closed:
                self._response.close()

    def _fault(self, error: BaseException) -> UpstreamError:
        return _cut_here() if self._closed else translate(error)


def send(
    client: openai.OpenAI, timeouts: Timeouts, body: Mapping[str, object], call_id: str, ticket: Ticket
) -> Exchange:
    """Send a chat completion to the upstream; return when the status and headers of its answer have come.

    Raises:
        UpstreamError: there is no answer, or it is not 200, or the ticket was cancelled.
    """
    headers = {CALL_ID_HEADER: call_id, UNREAD_HEADER: "stream"}
    if body.get("stream"):
        headers |= {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
    if ticket.is_cancelled():
        raise UpstreamUnreachable("the call was cut off before it was sent")
    started_at = time.monotonic()
    try:
        with holding(ticket):
            response = client.post(PATH, cast_to=httpx2.Response, body=dict(body), options={"headers": headers})
    except UPSTREAM_FAULTS as error:
        fault = translate(error)
        raise (_cut_here() if ticket.is_cancelled() and fault.may_have_run else fault) from error
    exchange = Exchange(response, timeouts, started_at)
    ticket.bind(exchange.close)
    return exchange


def _cut_here() -> UpstreamBroken:
    return UpstreamBroken("the call was cut off here", may_have_run=True)
