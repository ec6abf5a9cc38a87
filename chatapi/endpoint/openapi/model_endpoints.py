"""OpenAI's endpoints as operations, one for each row of the table of `domain.endpoints`."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.endpoints import ENDPOINTS, Endpoint
from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.openapi.operations import asked_in_json, header, operation
from chatapi.endpoint.openapi.pieces import EVENTS, FORM, JSON, Piece, array, body, integer, obj, reply, schema, string
from chatapi.endpoint.openapi.questions import MESSAGES
from chatapi.endpoint.openapi.refusals import OF_LIMITS, OF_OPENAI, REQUEST_ID, refused

TAG = "OpenAI"
PROMPT = "A lighthouse in the fog."
TEXTS = ("text/plain", "text/vtt", "text/srt", "application/x-subrip")


@dataclass(frozen=True, slots=True)
class _Told:
    """What is to say of an endpoint.

    Args:
        name: the `operationId`.
        summary: what it does, in a line.
        takes: the name of the schema of its body.
        example: a body.
        answers: schemas of its reply by media type, besides the stream of events.
        more: what else there is to know.
    """

    name: str
    summary: str
    takes: str
    example: Piece
    answers: Piece
    more: str = ""


def _json(field: str, kind: str = "array") -> Piece:
    """The upstream's reply, of which one field is sure."""
    return {JSON: obj(field, {field: {"type": kind}})}


SOUND: Piece = {"type": "string", "format": "binary"}
TEXT = _json("text", "string") | dict.fromkeys(TEXTS, string())
STORED = "Nothing that the upstream keeps can be asked for: it might be another user's, and has no bound."
TOLD = {
    "/v1/chat/completions": _Told(
        "create_chat_completion",
        "Chat completion",
        "ChatCompletion",
        {"model": "gpt-4o-mini", "messages": MESSAGES},
        _json("choices"),
        'A stream ends in `data: [DONE]`; one that breaks ends in `data: {"error": …}` without it. Its last event has '
        "the usage only if `stream_options.include_usage` asks for it.",
    ),
    "/v1/completions": _Told(
        "create_completion",
        "Completion, also of models that only chat",
        "Completion",
        {"model": "davinci-002", "prompt": "Once upon a time", "max_tokens": 16},
        _json("choices"),
        "A model that only chats is asked by a chat of one message. What that cannot do exactly (`suffix`, `echo`, "
        "`logprobs`, a `best_of` other than `n`, several prompts) is refused there.",
    ),
    "/v1/responses": _Told(
        "create_response",
        "Response",
        "Response",
        {"model": "gpt-4o-mini", "input": "Say hello."},
        _json("output"),
        STORED,
    ),
    "/v1/embeddings": _Told(
        "create_embedding",
        "Embeddings",
        "Embeddings",
        {"model": "text-embedding-3-small", "input": "Say hello."},
        _json("data"),
    ),
    "/v1/moderations": _Told(
        "create_moderation", "Moderation", "Moderation", {"input": "Say hello."}, _json("results")
    ),
    "/v1/images/generations": _Told(
        "create_image", "Images from a text", "Images", {"model": "gpt-image-1", "prompt": PROMPT}, _json("data")
    ),
    "/v1/images/edits": _Told(
        "edit_image",
        "Images from others",
        "ImageEdit",
        {"model": "gpt-image-1", "prompt": PROMPT, "image": "@lighthouse.png"},
        _json("data"),
    ),
    "/v1/audio/speech": _Told(
        "create_speech",
        "Speech from a text",
        "Speech",
        {"model": "tts-1", "voice": "alloy", "input": "Say hello."},
        {"audio/*": SOUND, "application/octet-stream": SOUND},
        "The sound comes as it is made; events instead of it if `stream_format` is `sse`.",
    ),
    "/v1/audio/transcriptions": _Told(
        "create_transcription", "Text from speech", "Transcription", {"model": "whisper-1", "file": "@speech.mp3"}, TEXT
    ),
    "/v1/audio/translations": _Told(
        "create_translation",
        "English text from speech",
        "Translation",
        {"model": "whisper-1", "file": "@speech.mp3"},
        TEXT,
    ),
}


def schemas() -> Piece:
    """What is answered by this service itself."""
    model = {
        "id": string("Its name, or an alias.", minLength=1),
        "object": {"const": "model"},
        "created": integer("Seconds since 1970, or 0."),
        "owned_by": string(),
    }
    models = {"object": {"const": "list"}, "data": array(schema("Model"), least=0)}
    return {
        "Model": obj("id object created owned_by", model, open=False),
        "Models": obj("object data", models, open=False),
    }


def paths() -> Piece:
    """The routes."""
    models = {"/v1/models": {"get": _models()}, "/v1/models/{model}": {"get": _model()}}
    return models | {path: {"post": _operation(endpoint, TOLD[path])} for path, endpoint in ENDPOINTS.items()}


def _operation(endpoint: Endpoint, told: _Told) -> Piece:
    answers = told.answers | ({EVENTS: {"description": "Events."}} if endpoint.streams else {})
    answer = reply("The upstream's reply.", answers, (REQUEST_ID, *OF_LIMITS, "x-chatapi-idempotent-replay"))
    request = body(schema(told.takes), told.example, FORM if endpoint.takes_files else JSON)
    replies = asked_in_json(Dialect.OPENAI, *OF_OPENAI) | {"200": answer}
    made = operation(TAG, told.name, told.summary, told.more, replies, request=request)
    return made | {"parameters": [header("Idempotency-Key")]}


def _models() -> Piece:
    replies = refused(Dialect.OPENAI, 401, 503) | {"200": reply("The models.", {JSON: schema("Models")}, (REQUEST_ID,))}
    return operation(TAG, "list_models", "The models that you may ask", "Nothing is metered.", replies)


def _model() -> Piece:
    replies = refused(Dialect.OPENAI, 401, 404, 503) | {
        "200": reply("The model.", {JSON: schema("Model")}, (REQUEST_ID,))
    }
    made = operation(TAG, "read_model", "One of them", "A name may have slashes.", replies)
    model = {"name": "model", "in": "path", "required": True, "description": "Its name.", "schema": string(minLength=1)}
    return made | {"parameters": [model | {"example": "gpt-4o-mini"}]}
