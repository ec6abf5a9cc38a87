"""Streams of rows: what a transaction reads while a client takes it, and that neither of them may keep for ever."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator

from chatapi.errors import Overloaded, Unavailable

MOST_AT_ONCE = 2  # of one process: each keeps a connection, and the pool has others to serve
_places = threading.BoundedSemaphore(MOST_AT_ONCE)


class RowStream:
    """Pieces that a generator makes of what it reads in a transaction, which ends with the stream.

    The first piece is made at once, so that what is wrong from the start is said before anything is sent. The stream
    ends when its pieces do, when `close()` is called, and after `most_s` seconds wherever its reader stands then.

    Args:
        pieces: opens the transaction when it begins, and ends it when it is closed.
        most_s: seconds that all of it may take.

    Raises:
        Overloaded: as many as may are being read already.
        DatabaseUnavailable: the database cannot answer.
    """

    def __init__(self, pieces: Generator[bytes, None, None], most_s: float) -> None:
        if not _places.acquire(blocking=False):
            raise Overloaded("Other reports are being read from here. Please try again.", retry_after_s=5)
        self._pieces = pieces
        self._lock = threading.Lock()  # a generator cannot be closed while it works
        self._ended = False
        self._timer = threading.Timer(most_s, self.close)
        self._timer.daemon = True
        try:
            self._first: bytes | None = next(pieces, b"")
            self._timer.start()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        """The pieces.

        Raises:
            Unavailable: the time is over, or the database broke: what was sent is not all.
        """
        return self

    def __next__(self) -> bytes:
        """The next piece."""
        with self._lock:
            if self._ended:
                raise Unavailable("The report was not read to its end in time.")
            if self._first is not None:
                first, self._first = self._first, None
                return first
            return next(self._pieces)

    def close(self) -> None:
        """End it and its transaction, if that is not done. Any thread may."""
        self._timer.cancel()
        with self._lock:
            if self._ended:
                return
            self._ended = True
            try:
                self._pieces.close()
            finally:
                _places.release()
