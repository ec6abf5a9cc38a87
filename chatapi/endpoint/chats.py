"""`POST /chat`: messages in, the reply's raw text out, piece by piece as it comes (CONTRACT §4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from flask import Response

from chatapi.domain import chat_request
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import note_call, runtime
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.endpoint.streaming import stream_response
from chatapi.errors import UpstreamError
from chatapi.logic import calls
from chatapi.logic.streams import MeteredStream

MOST_COMPLETION_TOKENS = 800
NO_SYSTEM_MESSAGE = "none"

blueprint = PolicedBlueprint("chats", __name__, Auth.BEARER)


@blueprint.post("/chat")
def chat() -> Response:
    """Stream the reply. What fails before its first piece has a status; after it, the body is broken off."""
    settings = runtime().settings
    messages = json_object().get("messages")
    system = settings.system_message
    first = [{"role": "system", "content": system}] if system and system != NO_SYSTEM_MESSAGE else []
    request = chat_request.parse(
        {"model": settings.model, "messages": messages}
    )  # refuses in terms of what the client sent
    body = {
        **request.body,
        "messages": [*first, *request.messages],
        "temperature": 0,
        "max_tokens": MOST_COMPLETION_TOKENS,
        "stream": True,
    }
    stream = calls.open_stream(runtime(), calls.Ask(claims(), "/chat", chat_request.parse(body)))
    note_call(stream)
    pieces = _pieces(stream)
    try:
        head = list(_first(pieces))
    except UpstreamError:
        stream.close()
        raise
    return stream_response(stream, chain(head, pieces))


def _pieces(stream: MeteredStream) -> Iterator[bytes]:
    for event in stream.events():
        if event.text:
            yield event.text.encode()


def _first(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        return
