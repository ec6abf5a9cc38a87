"""The right to cut one call off from elsewhere, from before it is sent until its answer has been read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Cutoff:
    """One call's. It knows at any moment what must be cut: the connection that waits, or the answer that is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut: Callable[[], None] | None = None
        self._cancelled = False

    def is_cancelled(self) -> bool:
        """Whether the call was cut off."""
        return self._cancelled

    def cancel(self) -> None:
        """Cut the call off, now or as soon as there is something to cut. Idempotent; from any thread or greenlet."""
        with self._lock:
            self._cancelled = True
            if self._cut is not None:
                self._cut()

    def bind(self, cut: Callable[[], None]) -> None:
        """From now on the call is cut off by `cut`, which must not block."""
        with self._lock:
            self._cut = cut
            if self._cancelled:
                cut()

    def unbind(self) -> None:
        """What was bound is of no concern to this call any more."""
        with self._lock:
            self._cut = None


class _Now(threading.local):
    cutoff: Cutoff | None = None


_now = _Now()


@contextmanager
def holding(cutoff: Cutoff) -> Iterator[None]:
    """Within, connections that this thread or greenlet sends on are the cutoff's."""
    _now.cutoff = cutoff
    try:
        yield
    finally:
        _now.cutoff = None
        cutoff.unbind()  # the connection may serve another call by now


def current_cutoff() -> Cutoff | None:
    """The cutoff that this thread or greenlet holds."""
    return _now.cutoff


def bind_to_cutoff(cut: Callable[[], None]) -> None:
    """Bind `cut` to the cutoff that this thread or greenlet holds, if it holds one."""
    cutoff = _now.cutoff
    if cutoff is not None:
        cutoff.bind(cut)
