"""The table of what may be asked of a model: for each endpoint how it is read and bounded, and what its unit is.

Every route that can reach an upstream stands for an endpoint of it (`endpoint.metered`), and how its replies are
read says `upstream.forms`, which names the same endpoints. docs/endpoints.md says it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chatapi.domain import (
    audio_request,
    chat_request,
    completion_request,
    embeddings_request,
    image_request,
    moderation_request,
    response_request,
    speech_request,
)
from chatapi.domain.extras import Unit
from chatapi.domain.model_request import ModelRequest, Upload

Parse = Callable[[Mapping[str, object], tuple[Upload, ...]], ModelRequest]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of OpenAI's endpoints.

    Args:
        path: of it.
        parse: reads a body, and a form's files; the request bounds itself.
        unit: what the older models are paid by; None: tokens, as newer ones always are.
        streams: whether OpenAI streams its replies.
        takes_files: whether its body is a form with files, and not JSON.
    """

    path: str
    parse: Parse
    unit: Unit | None = None
    streams: bool = False
    takes_files: bool = False


def _of_json(parse: Callable[[Mapping[str, object]], ModelRequest]) -> Parse:
    return lambda body, _files: parse(body)


CHAT_COMPLETIONS = Endpoint("/v1/chat/completions", _of_json(chat_request.parse), streams=True)

ENDPOINTS: dict[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        CHAT_COMPLETIONS,
        Endpoint("/v1/completions", _of_json(completion_request.parse), streams=True),
        Endpoint("/v1/responses", _of_json(response_request.parse), streams=True),
        Endpoint("/v1/embeddings", _of_json(embeddings_request.parse)),
        Endpoint("/v1/moderations", _of_json(moderation_request.parse)),
        Endpoint("/v1/images/generations", _of_json(image_request.parse), Unit.IMAGE, streams=True),
        Endpoint("/v1/images/edits", image_request.parse_edit, Unit.IMAGE, streams=True, takes_files=True),
        Endpoint("/v1/audio/speech", _of_json(speech_request.parse), Unit.CHARACTER, streams=True),
        Endpoint(
            "/v1/audio/transcriptions", audio_request.parse_transcription, Unit.SECOND, streams=True, takes_files=True
        ),
        Endpoint("/v1/audio/translations", audio_request.parse_translation, Unit.SECOND, takes_files=True),
    )
}
