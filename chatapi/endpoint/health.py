"""`/healthz`: this process is alive. `/readyz`: it can serve, so the database answers, its schema fits, and what cannot
be written to it now is kept on disk."""

from __future__ import annotations

from flask import Response

from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.logic import schema

blueprint = PolicedBlueprint("health", __name__, Auth.PUBLIC)


@blueprint.get("/healthz")
def alive() -> Response:
    """200 as long as this process answers at all."""
    return json_response({"status": "alive"})


@blueprint.get("/readyz")
def ready() -> Response:
    """200 when calls can be served; 503 and the reason when not."""
    problem = schema.problem(runtime()) or runtime().writer.problem
    if problem is None:
        return json_response({"status": "ready"})
    response = json_response({"status": "not ready", "reason": problem}, 503)
    response.headers["Retry-After"] = "2"
    return response
