"""`POST /v1/chat/completions`, plain and streamed (CONTRACT §5)."""

from __future__ import annotations

from collections.abc import Iterator

import orjson
from flask import Response

from chatapi.domain import chat_request
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import client, note_call, runtime
from chatapi.endpoint.dialects import openai_error
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.endpoint.rate_limits import add_rate_limits
from chatapi.endpoint.streaming import stream_response
from chatapi.errors import UpstreamError
from chatapi.logic import calls
from chatapi.logic.streams import MeteredStream

ENDPOINT = "/v1/chat/completions"

blueprint = PolicedBlueprint("chat_completions", __name__, Auth.BEARER)


@blueprint.post(ENDPOINT)
def create() -> Response:
    """Create a chat completion: every parameter goes through, also those that nobody here knows."""
    request = chat_request.parse(json_object())
    ask = calls.Ask(claims(), ENDPOINT, request, client())
    if request.stream:
        stream = calls.open_stream(runtime(), ask, relayed=True)
        note_call(stream)
        return stream_response(stream, frames(stream))
    answer = calls.run(runtime(), ask, relayed=True)
    note_call(answer)
    response = Response(answer.reply.body, mimetype="application/json")
    add_rate_limits(response, answer.standings)
    return response


def frames(stream: MeteredStream) -> Iterator[bytes]:
    """The stream's events as they came. One that breaks ends in an error event, never in a clean-looking end."""
    try:
        yield from stream.blocks()
    except UpstreamError as error:
        yield b"data: " + orjson.dumps({"error": openai_error(error)}) + b"\n\n"
