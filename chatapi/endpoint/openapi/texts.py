"""OpenAI's endpoints for text, as far as they are looked at here; whatever else a body has goes through untouched.

Source: OpenAI's API reference. Their table is `domain.endpoints`, whose modules check what these schemas say.
"""

from __future__ import annotations

from chatapi.domain import chat_request, moderation_request, response_request
from chatapi.domain.chat_request import CAPS, CHOICES, MOST_CHOICES, MOST_TOKENS, ROLES
from chatapi.endpoint.openapi.pieces import Piece, array, boolean, integer, nullable, obj, one_of_words, schema, string
from chatapi.endpoint.openapi.questions import schema_of_model

PARTS = [part for part in chat_request.PARTS if part != "file"]
LARGEST_ID = 2**64 - 1
NOTHING: Piece = {"enum": [None, False, "", 0, [], {}]}


def schemas() -> Piece:
    """What these endpoints take."""
    return {
        "Message": _message(),
        "Messages": array(schema("Message"), "The conversation so far."),
        "StreamOptions": nullable(
            obj("", {"include_usage": nullable(boolean("Whether the event with the usage comes."))})
        ),
        "Input": _input(),
        "ChatCompletion": _sampled("model messages", {"messages": schema("Messages"), "chat_template": False}),
        "Completion": _sampled("model prompt", {"prompt": schema("Input")}),
        "Response": _response(),
        "ResponseItem": _response_item(),
        "ResponsePart": obj("type", {"type": one_of_words(sorted(RESPONSE_PARTS))}, "Without a `file_id`."),
        "Embeddings": obj("model input", {"model": schema_of_model(), "input": schema("Input")}),
        "Moderation": obj("input", {"model": _model_or_default(), "input": _moderated()}),
    }


def _message() -> Piece:
    content = {
        "description": "A text, or parts of one. Files cannot be bounded before the call, and are refused.",
        "anyOf": [
            {"type": ["string", "null"]},
            array(obj("type", {"type": one_of_words(PARTS)}), least=0),
        ],
    }
    audio = {"type": "null", "description": "Audio of earlier replies cannot be bounded before the call."}
    fields = {"role": one_of_words(ROLES), "content": content, "audio": audio}
    may_be_empty = {"properties": {"role": {"enum": ["assistant", "function"]}}}
    has_content = {"required": ["content"], "properties": {"content": {"not": {"type": "null"}}}}
    return obj("role", fields, anyOf=[may_be_empty, has_content])


def _input() -> Piece:
    identifier = integer(most=LARGEST_ID)
    ids = array(identifier, "Ids of tokens.")
    return {
        "description": "A text, several, the ids of a text's tokens, or several of those.",
        "anyOf": [string(), ids, array({"anyOf": [string(), ids]})],
    }


def _sampled(required: str, own: Piece) -> Piece:
    """What chat completions and completions have in common."""
    fields: Piece = {"model": schema_of_model()} | own
    fields |= {name: nullable(integer("How many choices are made.", 1, MOST_CHOICES)) for name in CHOICES}
    cap = "The most tokens of each choice; lowered near the end of a quota. Of several the largest counts."
    fields |= {name: nullable(integer(cap, 1, MOST_TOKENS)) for name in CAPS}
    fields |= {
        "stream": nullable(boolean("Whether the reply comes as it is made.")),
        "stream_options": schema("StreamOptions"),
    }
    needs_stream: Piece = {
        "if": {"required": ["stream_options"], "properties": {"stream_options": {"type": "object"}}},
        "then": {"required": ["stream"], "properties": {"stream": {"const": True}}},
    }
    return obj(required, fields, "Other fields go to the upstream as they are.", **needs_stream)


RESPONSE_PARTS = response_request.MESSAGE_PARTS | {"reasoning_text", "summary_text"}


def _response() -> Piece:
    given = {"description": "A text, or items.", "anyOf": [string(), array(schema("ResponseItem"))]}
    fields: Piece = {"model": schema_of_model(), "input": given}
    fields |= {name: nullable(integer("The most tokens of the answer.", 1, MOST_TOKENS)) for name in CAPS}
    fields["stream"] = nullable(boolean("Whether the reply comes as it is made."))
    tool = obj("type", {"type": one_of_words(sorted(response_request.TOOLS))})
    fields["tools"] = nullable(array(tool, "Those that the upstream would run itself are refused.", least=0))
    nothing = {"description": "What the upstream keeps cannot be bounded before the call: absent, null or empty."}
    fields |= dict.fromkeys(response_request.KEPT_ELSEWHERE, nothing | NOTHING)
    return obj("model input", fields, "Other fields go to the upstream as they are.")


def _response_item() -> Piece:
    parts = array(schema("ResponsePart"), least=0)
    text_or_parts = {"description": "A text, or parts.", "anyOf": [{"not": {"type": "array"}}, parts]}
    fields = {
        "type": one_of_words(sorted(response_request.ITEMS), "`message` where there is a `role`."),
        "content": text_or_parts,
        "output": text_or_parts,
    }
    reasoning: Piece = {
        "if": {"required": ["type"], "properties": {"type": {"const": "reasoning"}}},
        "then": {"required": ["encrypted_content"], "properties": {"encrypted_content": {"not": NOTHING}}},
    }
    kept = "Reasoning needs its `encrypted_content`: what the upstream keeps of it cannot be bounded before the call."
    return obj("", fields, kept, anyOf=[{"required": ["role"]}, {"required": ["type"]}], **reasoning)


def _model_or_default() -> Piece:
    return nullable(schema_of_model()) | {"description": f"`{moderation_request.DEFAULT_MODEL}` where there is none."}


def _moderated() -> Piece:
    part = obj("type", {"type": one_of_words(moderation_request.PARTS)})
    return {
        "description": "A text, or several texts and images.",
        "anyOf": [string(), array({"anyOf": [string(), part]})],
    }
