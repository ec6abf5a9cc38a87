"""`GET /v1/models` and `GET /v1/models/{model}`: what this installation serves. Nothing is metered."""

from __future__ import annotations

from flask import Response, current_app

from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.errors import InvalidRequest
from chatapi.logic import models
from chatapi.logic.models import ModelList, ServedModel

KNOWN = "chatapi.models"

blueprint = PolicedBlueprint("models", __name__, Auth.BEARER)


@blueprint.get("/v1/models")
def list_all() -> Response:
    """Every model."""
    return json_response({"object": "list", "data": [_shown(model) for model in _listed().values()]})


@blueprint.get("/v1/models/<path:model>")
def show(model: str) -> Response:
    """One model."""
    found = _listed().get(model)
    if found is None:
        problem = f"The model '{model}' does not exist"
        raise InvalidRequest(problem, param="model", code="model_not_found", status=404)
    return json_response(_shown(found))


def _listed() -> dict[str, ServedModel]:
    known: ModelList = current_app.extensions.setdefault(KNOWN, ModelList())
    return models.listed(runtime(), claims(), known)


def _shown(model: ServedModel) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": model.owner}
