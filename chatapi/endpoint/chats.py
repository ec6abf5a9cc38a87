"""`POST /chat`: messages in, the reply's raw text out, piece by piece as it comes (CONTRACT §4)."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import chain

from flask import Response

from chatapi.domain import chat_request
from chatapi.domain.chat_request import ChatRequest
from chatapi.domain.endpoints import CHAT_COMPLETIONS
from chatapi.endpoint import metered
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import runtime
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.endpoint.streaming import stream_response
from chatapi.errors import UpstreamError

MOST_COMPLETION_TOKENS = 800
NO_SYSTEM_MESSAGE = "none"

blueprint = PolicedBlueprint("chats", __name__, Auth.BEARER)


@blueprint.post("/chat")
@metered.stands_for(CHAT_COMPLETIONS)
def chat() -> Response:
    """Stream the reply. What fails before its first piece has a status; after it, the body is broken off."""
    asked = chat_request.parse({"model": runtime().settings.model, "messages": json_object().get("messages")})
    request = chat_request.parse(_upstream_body(asked)).in_words_of_its_model()
    stream = metered.open_stream(request)
    pieces = (text.encode() for text in stream.texts())
    try:
        first = next(pieces, None)
    except BaseException:
        stream.close()
        raise
    return stream_response(stream, chain([] if first is None else [first], _breaking_off(pieces)))


def _upstream_body(asked: ChatRequest) -> dict[str, object]:
    """What the contract makes of the messages: a system message first, temperature 0, a cap on the completion."""
    system = runtime().settings.system_message
    first = [{"role": "system", "content": system}] if system and system != NO_SYSTEM_MESSAGE else []
    tuned = {"max_tokens": MOST_COMPLETION_TOKENS, "temperature": 0}
    return {**asked.body, "messages": [*first, *asked.messages], "stream": True, **tuned}


def _breaking_off(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces; when they fail, the connection is cut, and the server has nothing to say about it in its log."""
    try:
        yield from pieces
    except UpstreamError as error:
        raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from error
