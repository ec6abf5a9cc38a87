"""Streamed replies: settled when they end or when the client is gone, even before the first chunk."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response

from chatapi.endpoint.rate_limits import add_clamp, add_rate_limits
from chatapi.logic.streams import MeteredStream


def stream_response(stream: MeteredStream, chunks: Iterable[bytes]) -> Response:
    """A reply that relays `chunks`.

    The server closes the response however it ends; a generator's `finally` would not run if the client left before the
    first chunk, so it is the response that closes the stream.
    """
    response = Response(chunks, content_type=stream.content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    add_rate_limits(response, stream.grant.standings)
    add_clamp(response, stream.clamped)
    response.call_on_close(stream.close)
    return response
