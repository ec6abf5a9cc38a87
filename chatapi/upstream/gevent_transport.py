"""httpx2's interface to our own pool of connections: the openai client's way up, under gevent."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterator

import httpx2

from chatapi.upstream.answer import ANSWER, AS_IT_CAME, Decoded
from chatapi.upstream.answer import Answer as AnyAnswer
from chatapi.upstream.cutoff import Cutoff, current_cutoff
from chatapi.upstream.letterhead import Letterhead
from chatapi.upstream.parcel import Pieces
from chatapi.upstream.patience import Patience
from chatapi.upstream.pool import Answer, Pool
from chatapi.upstream.transport import Transport

MOST_LETTERHEADS = 256


class GeventTransport(Transport):
    """Sends requests over a pool. The answer lies in the response's extensions, for whoever must be patient with it.

    Args:
        pool: the connections.
        timeout: for relayed calls; the openai client brings its own.
    """

    def __init__(self, pool: Pool, timeout: httpx2.Timeout) -> None:
        self.pool = pool
        self._read_timeout_s = timeout.read
        self._lines = functools.lru_cache(MOST_LETTERHEADS)(self._lines_of)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer as soon as the status and headers are there."""
        url = request.url
        scheme, host, port = self.pool.dialler.origin
        if (url.scheme, url.raw_host.decode("ascii")) != (scheme, host) or url.port not in {None, port}:
            raise httpx2.UnsupportedProtocol("this is not the upstream's address")
        lines = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw)
        head = b"%b %b%b HTTP/1.1\r\n%b" % (
            request.method.encode("ascii"),
            self.pool.dialler.target_prefix,
            url.raw_path,
            lines,
        )
        patience = _until_the_head(request.extensions["timeout"]["read"])
        answer = self.pool.send(head, request.read(), patience, current_cutoff())
        return _response(answer)

    def relay(self, letterhead: Letterhead, call_id: str, body: bytes | Pieces, cutoff: Cutoff) -> AnyAnswer:
        """Send a body; return when the status and headers of its answer have come."""
        length = len(body) if isinstance(body, bytes) else body.length
        head = b"%b%b\r\nContent-Length: %d\r\n" % (self._lines(letterhead), call_id.encode("ascii"), length)
        if not isinstance(body, bytes):
            head += b"Content-Type: %b\r\n" % body.content_type.encode()
        answer = self.pool.send(head, body, _until_the_head(self._read_timeout_s), cutoff)
        return answer if _is_plain(answer) else Decoded(_response(answer))  # which was not asked for

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.close()

    def _lines_of(self, letterhead: Letterhead) -> bytes:
        return letterhead.lines(self.pool.dialler.target_prefix)


class Body(httpx2.SyncByteStream):
    """An answer's body as httpx2 reads it."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._answer.read():
            yield piece

    def close(self) -> None:
        """Give up what has not been read."""
        self._answer.close()


def _until_the_head(timeout_s: float | None) -> Patience:
    """The patience with a request until its answer has begun; whoever reads the body brings another."""
    limit_s = math.inf if timeout_s is None else timeout_s
    return Patience(limit_s, time.monotonic() + limit_s)


def _is_plain(answer: Answer) -> bool:
    return all(name != "content-encoding" or value == "identity" for name, value in answer.header_lines)


def _response(answer: Answer) -> httpx2.Response:
    """The answer as httpx2's; it is closed if that fails."""
    extensions = {"http_version": b"HTTP/1.1", ANSWER: answer}
    if _is_plain(answer):
        extensions[AS_IT_CAME] = answer
    try:
        # As bytes: of text httpx2 takes ASCII only, and guesses what it is given as bytes.
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.header_lines]
        return httpx2.Response(answer.status, headers=headers, stream=Body(answer), extensions=extensions)
    except BaseException:
        answer.close()
        raise
