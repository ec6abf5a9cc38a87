"""The header `Idempotency-Key` of requests, and replies that are given again."""

from __future__ import annotations

import re

from flask import Response, request

from chatapi.endpoint.rate_limits import add_clamp, add_rate_limits
from chatapi.errors import InvalidRequest
from chatapi.logic.idempotency import Replay

HEADER = "Idempotency-Key"
REPLAYED = "x-chatapi-idempotent-replay"
SANE_KEY = re.compile(r"[ -~]{1,255}")


def given_key() -> str | None:
    """The key that the client gave the request; None when it gave none.

    Raises:
        InvalidRequest: it is none that can be kept.
    """
    given = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is not None and SANE_KEY.fullmatch(given) is None:
        problem = f"Invalid '{HEADER}': expected 1 to 255 printable ASCII characters."
        raise InvalidRequest(problem, param=HEADER, code="invalid_idempotency_key")
    return given


def replay_response(replay: Replay) -> Response:
    """The reply as it was, of a stream the finished one; and the limits as they stand."""
    response = Response(replay.body, content_type=replay.content_type)
    response.headers[REPLAYED] = "true"
    add_rate_limits(response, replay.standings)
    add_clamp(response, replay.clamped)
    return response
