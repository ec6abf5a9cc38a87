"""One request to an upstream and the bytes of its answer, with patience, a deadline, and a `close()` for anyone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from chatapi.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from chatapi.upstream.answer import Answer
from chatapi.upstream.patience import Patience
from chatapi.upstream.targets import Timeouts
from chatapi.upstream.translate import UPSTREAM_FAULTS, translate

UPSTREAM_ID_HEADER = "x-request-id"
GRACE_AT_END_S = 0.2
"""How long to wait, after `[DONE]`, for the bytes that end the answer and make its connection good for another call."""


class Exchange:
    """An answer whose status has come. Iterate `chunks()` in one thread or greenlet; `close()` from any.

    Args:
        answer: the answer.
        timeouts: the upstream's.
        started_at: when the request was begun, by `time.monotonic()`.
        key: the key that the request was sent with.
    """

    __slots__ = (
        "_answer", "_closed", "_idle_timeout_s", "_lock", "_patience", "_reading", "content_type", "key", "upstream_id",
    )  # fmt: skip

    def __init__(self, answer: Answer, timeouts: Timeouts, started_at: float, key: str) -> None:
        headers = answer.headers
        self.key = key
        self.upstream_id = headers.get(UPSTREAM_ID_HEADER)
        """The upstream's own id of this request, if it gave one."""
        self.content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        """The answer's media type, in lower case, without parameters."""
        self._answer = answer
        self._idle_timeout_s = timeouts.idle_s
        waited_s = time.monotonic() - started_at
        self._patience = Patience(timeouts.first_byte_s - waited_s, started_at + timeouts.deadline_s)
        answer.be_patient(self._patience)
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    @property
    def cut_here(self) -> bool:
        """Whether `close()` has been called."""
        return self._closed

    def chunks(self) -> Iterator[bytes]:
        """The answer's bytes as they come.

        Raises:
            UpstreamTimeout: silence for too long, or the deadline has passed.
            UpstreamBroken: it was cut, by the upstream or by `close()`.
        """
        patience = self._patience
        while chunk := self._read():
            if time.monotonic() > patience.deadline_at:
                raise UpstreamTimeout("the upstream took too long to answer", may_have_run=True)
            patience.read_timeout_s = self._idle_timeout_s
            yield chunk

    def read_soon(self, most_bytes: int, within_s: float) -> bytes:
        """Read what comes within this time, whether or not that is all, and close."""
        patience = self._patience
        patience.read_timeout_s = within_s
        patience.deadline_at = min(patience.deadline_at, time.monotonic() + within_s)
        text = bytearray()
        try:
            while len(text) < most_bytes and time.monotonic() < patience.deadline_at and (chunk := self._read()):
                text += chunk
        except UpstreamError:
            pass  # what has come is what there is
        finally:
            self.close()
        return bytes(text[:most_bytes])

    def finish(self) -> None:
        """Close, as all that matters has been read; what little is left is read first, to use the connection again."""
        if self._closed:
            return
        self._patience.deadline_at = time.monotonic() + GRACE_AT_END_S
        try:
            while self._read():
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
            if self._reading:  # the reader closes the answer itself, as soon as the shutdown has woken it
                self._answer.abort()
                return
        self._answer.close()

    def _read(self) -> bytes:
        with self._lock:
            if self._closed or self._reading:
                raise cut_here()
            self._reading = True
        try:
            chunk = self._answer.read()
            if not chunk and self.cut_here:  # a body without a length ends like this when its socket is shut down
                raise cut_here()
            return chunk
        except UPSTREAM_FAULTS as error:
            raise (cut_here() if self.cut_here else translate(error)) from error
        except ValueError as error:  # a TLS socket that was shut down under a reader says so with this
            if not self.cut_here:
                raise
            raise cut_here() from error
        finally:
            with self._lock:
                self._reading = False
                closed = self._closed
            if closed:
                self._answer.close()


def cut_here() -> UpstreamBroken:
    """The error of a call that was cut off from here."""
    return UpstreamBroken("the call was cut off here", may_have_run=True)
