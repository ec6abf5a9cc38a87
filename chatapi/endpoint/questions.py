"""`GET /api?q=`: one question, one answer (CONTRACT §2)."""

from __future__ import annotations

from flask import Response, request

from chatapi.domain import chat_request
from chatapi.endpoint.context import client, note_call, runtime
from chatapi.endpoint.dialects import envelope, json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.errors import InvalidRequest
from chatapi.logic import calls

blueprint = PolicedBlueprint("questions", __name__, Auth.BEARER)


@blueprint.get("/api")
def ask() -> Response:
    """Answer the question `q` with the installation's default model."""
    question = request.args.get("q", "")
    if not question.strip():
        raise InvalidRequest("The question is missing: call /api?q=<your question>", param="q")
    body = {"model": runtime().settings.model, "messages": [{"role": "user", "content": question}]}
    answer = calls.run(runtime(), calls.Ask(claims(), "/api", chat_request.parse(body), client()))
    note_call(answer)
    return json_response(envelope(answer.reply.text, good=True))
