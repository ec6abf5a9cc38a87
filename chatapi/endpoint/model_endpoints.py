"""OpenAI's own endpoints, all alike, straight from the table: read the body, make the call, relay its reply."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator

import orjson
from flask import Response

from chatapi.domain.endpoints import ENDPOINTS, Endpoint
from chatapi.domain.model_request import ModelRequest
from chatapi.endpoint import metered
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.dialects import openai_error
from chatapi.endpoint.forms import form
from chatapi.endpoint.idempotency import replay_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.endpoint.rate_limits import add_clamp, add_rate_limits
from chatapi.endpoint.streaming import stream_response
from chatapi.errors import UpstreamError
from chatapi.logic.idempotency import Replay
from chatapi.logic.streams import MeteredStream

RESPONSES = "/v1/responses"
EVENTS = "text/event-stream"
SEQUENCE_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d+)')

blueprint = PolicedBlueprint("model_endpoints", __name__, Auth.BEARER)


def _view_of(endpoint: Endpoint) -> Callable[[], Response]:
    @metered.stands_for(endpoint)
    def create() -> Response:
        if endpoint.takes_files:
            return _relay(endpoint, endpoint.parse(*form()))
        return _relay(endpoint, endpoint.parse(json_object(), ()))

    return create


def _relay(endpoint: Endpoint, asked: ModelRequest) -> Response:
    """Every parameter goes through, also those that nobody here knows; of the reply's headers only its media type."""
    served = metered.relay(asked)
    if isinstance(served, Replay):
        return replay_response(served)
    if isinstance(served, MeteredStream):
        return stream_response(served, _blocks(endpoint, served))
    response = Response(served.reply.body, content_type=served.reply.content_type)
    add_rate_limits(response, served.standings)
    add_clamp(response, served.clamped)
    return response


def _blocks(endpoint: Endpoint, stream: MeteredStream) -> Iterator[bytes]:
    """The reply as it comes. One that breaks ends in an error event, never in a clean-looking end; where it has no
    events, its connection breaks, too."""
    last = b""
    try:
        for block in stream.blocks():
            yield block
            last = block
    except UpstreamError as error:
        if stream.content_type != EVENTS:
            raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from error
        yield _error_event(endpoint, error, last)


def _error_event(endpoint: Endpoint, error: UpstreamError, last: bytes) -> bytes:
    """The error as the endpoint's streams have it."""
    said = openai_error(error)
    if endpoint.path == RESPONSES:
        numbers = SEQUENCE_NUMBER.findall(last)
        number = int(numbers[-1]) + 1 if numbers else 0
        event = {"type": "error", **{name: said[name] for name in ("code", "message", "param")}}
        return b"event: error\ndata: " + orjson.dumps(event | {"sequence_number": number}) + b"\n\n"
    return b"data: " + orjson.dumps({"error": said}) + b"\n\n"


for _endpoint in ENDPOINTS.values():
    blueprint.add_url_rule(
        _endpoint.path, _endpoint.path.strip("/").replace("/", "_"), _view_of(_endpoint), methods=["POST"]
    )
