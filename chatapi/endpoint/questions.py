"""`GET /api?q=`: one question, one answer (CONTRACT §2)."""

from __future__ import annotations

from flask import Response, request

from chatapi.domain import chat_request
from chatapi.domain.endpoints import CHAT_COMPLETIONS
from chatapi.endpoint import metered
from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import envelope, json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.errors import InvalidRequest

blueprint = PolicedBlueprint("questions", __name__, Auth.BEARER)


@blueprint.get("/api")
@metered.stands_for(CHAT_COMPLETIONS)
def ask() -> Response:
    """Answer the question `q` with the installation's default model."""
    question = request.args.get("q", "")
    if not question.strip():
        raise InvalidRequest("The question is missing: call /api?q=<your question>", param="q")
    body = {"model": runtime().settings.model, "messages": [{"role": "user", "content": question}]}
    return json_response(envelope(metered.run(chat_request.parse(body)).reply.text, good=True))
