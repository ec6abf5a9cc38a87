"""`POST /chatgpt_prompt`: messages in, one JSON string out (CONTRACT §3)."""

from __future__ import annotations

from flask import Response

from chatapi.domain import chat_request
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import client, note_call, runtime
from chatapi.endpoint.dialects import json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.errors import InvalidRequest
from chatapi.logic import calls

FIELDS = ("model", "messages", "max_tokens", "temperature")

blueprint = PolicedBlueprint("prompts", __name__, Auth.BEARER)


@blueprint.post("/chatgpt_prompt")
def answer() -> Response:
    """Answer the messages. Without a model, the installation's default answers."""
    given = json_object()
    body = {name: given[name] for name in FIELDS if given.get(name) is not None}
    body.setdefault("model", runtime().settings.model)
    temperature = body.get("temperature", 1)
    if isinstance(temperature, bool) or not isinstance(temperature, int | float):
        raise InvalidRequest(
            "Invalid type for 'temperature': expected a number.", param="temperature", code="invalid_type"
        )
    request = chat_request.parse(body).in_words_of_its_model()
    found = calls.run(runtime(), calls.Ask(claims(), "/chatgpt_prompt", request, client()))
    note_call(found)
    return json_response(f"Answer: {found.reply.text}")
