"""`POST /chatgpt_prompt`: messages in, one JSON string out (CONTRACT §3)."""

from __future__ import annotations

from flask import Response

from chatapi.domain import chat_request
from chatapi.domain.endpoints import CHAT_COMPLETIONS
from chatapi.endpoint import metered
from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.errors import InvalidRequest

FIELDS = ("model", "messages", "max_tokens", "temperature")

blueprint = PolicedBlueprint("prompts", __name__, Auth.BEARER)


@blueprint.post("/chatgpt_prompt")
@metered.stands_for(CHAT_COMPLETIONS)
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
    return json_response(f"Answer: {metered.run(request).reply.text}")
