"""An answer whose status has come, whichever way it came; and httpx2's responses as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import httpx2

from chatapi.upstream.patience import Patience

ANSWER = "chatapi.answer"
"""The extension of a response that has what can be patient and be aborted."""
AS_IT_CAME = "chatapi.answer_as_it_came"
"""The extension of a response that has the answer itself, where its body need not be decoded."""


class Abortable(Protocol):
    """Where an answer's bytes come from."""

    def be_patient(self, patience: Patience) -> None:
        """From now on reads have this patience."""

    def abort(self) -> None:
        """End a read that blocks in another thread or greenlet."""


class Answer(Abortable, Protocol):
    """An answer. Read it in one thread or greenlet; `abort()` from any."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by names in lower case."""

    def read(self) -> bytes:
        """The next bytes of the body, decoded, as many as have come; b"" at its end."""

    def close(self) -> None:
        """Give up what has not been read. Idempotent."""


class Decoded:
    """httpx2's response as an answer, its body decoded as its Content-Encoding says."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._source: Abortable | None = response.extensions.get(ANSWER)
        self._pieces: Iterator[bytes] = response.iter_bytes()

    def read(self) -> bytes:
        """The next bytes of the body; b"" at its end."""
        for piece in self._pieces:
            if piece:
                return piece
        return b""

    def be_patient(self, patience: Patience) -> None:
        """From now on reads have this patience."""
        if self._source is not None:
            self._source.be_patient(patience)

    def abort(self) -> None:
        """End a read that blocks elsewhere."""
        if self._source is not None:
            self._source.abort()

    def close(self) -> None:
        """Give up what has not been read."""
        self._response.close()


def answer_of(response: httpx2.Response) -> Answer:
    """A response as an answer, read by httpx2 only where it has to be decoded."""
    return response.extensions.get(AS_IT_CAME) or Decoded(response)
