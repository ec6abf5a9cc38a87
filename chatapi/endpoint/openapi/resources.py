"""Resources as operations: their models say the schemas, their declarations the rest."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint
from pydantic.json_schema import models_json_schema

from chatapi.domain.principals import Role
from chatapi.endpoint import admin
from chatapi.endpoint.dialects import Dialect, dialect_of
from chatapi.endpoint.openapi import me
from chatapi.endpoint.openapi.examples import EXAMPLES, PARTS, example_of, example_value, tidy
from chatapi.endpoint.openapi.operations import operation
from chatapi.endpoint.openapi.pieces import JSON, Piece, body, reply, string
from chatapi.endpoint.openapi.refusals import OF_BODIES, REQUEST_ID, refused
from chatapi.endpoint.resources import Operation, Resources
from chatapi.endpoint.shapes import Body, Query, Reply

TAG = "Administration"
REF = "#/components/schemas/{model}"
ROLES = {
    Role.USER: "",
    Role.ADMIN: "For admins of the tenant, and operators, with the access token that `POST /token` gives.",
    Role.OPERATOR: "For operators, with the access token that `POST /token` gives.",
}
Side = tuple[type[Body | Query | Reply], str]
"""A model, and whether its schema is that of what comes in or of what goes out."""


def paths() -> Piece:
    """The routes."""
    made: Piece = {}
    for each in _operations(admin.BLUEPRINTS):
        made.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return made


def schemas() -> Piece:
    """Of all models that bodies and replies are of, and those that they consist of."""
    sides = {(model, side) for each in _operations(admin.BLUEPRINTS) for model, side in _models(each)}
    _, made = models_json_schema(
        [(model, side) for model, side in sorted(sides, key=str)],  # type: ignore[misc]
        ref_template=REF,
    )
    found: Piece = tidy(made.get("$defs", {}))
    return found


def _operations(blueprints: Iterable[Blueprint]) -> list[Operation]:
    return [each for blueprint in blueprints if isinstance(blueprint, Resources) for each in blueprint.operations]


def _models(each: Operation) -> list[Side]:
    taken: list[Side] = [(each.body, "validation")] if each.body else []
    return taken + ([(each.reply, "serialization")] if each.reply else [])


def _operation(each: Operation) -> Piece:
    dialect = dialect_of(each.path)
    tag = me.TAG if dialect is Dialect.OPENAI else TAG
    words = [text for text in (each.description, ROLES[each.needs]) if text]
    done = reply(_success(each), _content(each), (REQUEST_ID,))
    replies = {str(each.status): done} | refused(dialect, *_refusals(each))
    request = None
    if each.body is not None:
        request = body(_ref(each.body, "validation"), example_of(each.body))
    elif each.body_media is not None:
        request = body(string(), EXAMPLES[each.body_media], each.body_media)
    made = operation(tag, each.name, each.summary, "\n\n".join(words), replies, request=request)
    parameters = [_part(name) for name in each.parts] + _parameters(each)
    return made | ({"parameters": parameters} if parameters else {})


def _success(each: Operation) -> str:
    return {201: "It was made.", 202: "It will be done.", 204: "Done."}.get(each.status, "As asked.")


def _content(each: Operation) -> Piece | None:
    found: Piece = {JSON: _ref(each.reply, "serialization")} if each.reply else {}
    return found | {media: {} if media == JSON else string() for media in each.media} or None


def _refusals(each: Operation) -> list[int]:
    statuses = [401, 403, 503, *(each.body.refused_with if each.body else ())]
    statuses += [404] if each.parts else []
    statuses += [409] if each.method != "GET" else []
    return statuses + (list(OF_BODIES) if each.body or each.body_media else [])


def _ref(model: type[Body | Reply], side: str) -> Piece:
    """The name that pydantic gives a model's schema: it has one for both sides where they are alike."""
    found, _ = models_json_schema([(model, side)], ref_template=REF)  # type: ignore[list-item]
    return next(iter(found.values()))


def _part(name: str) -> Piece:
    piece = string(format="uuid") if name.endswith("_id") else string(minLength=1)
    example = me.AN_ID if name.endswith("_id") else PARTS.get(name, name)
    return {"name": name, "in": "path", "required": True, "schema": piece, "example": example}


def _parameters(each: Operation) -> list[Piece]:
    if each.query is None:
        return []
    told = tidy(each.query.model_json_schema(ref_template=REF))
    defined: Piece = told.get("$defs", {})
    needed = told.get("required", [])
    found = []
    for name, piece in told["properties"].items():
        said = _without_null(_resolved(piece, defined))
        described = said.pop("description", "")
        made = {"name": name, "in": "query", "required": name in needed, "schema": said}
        made |= {"example": str(example_value(said))} if name in needed else {}
        found.append(made | ({"description": described} if described else {}))
    return found


def _resolved(piece: Piece, defined: Piece) -> Piece:
    """The same without pointing to anything: what a query says is small."""
    if "$ref" in piece:
        name = piece["$ref"].rsplit("/", 1)[-1]
        there: Piece = defined[name]
        return there | {key: value for key, value in piece.items() if key != "$ref"}
    if "anyOf" in piece:
        return piece | {"anyOf": [_resolved(each, defined) for each in piece["anyOf"]]}
    return piece


def _without_null(piece: Piece) -> Piece:
    """A parameter that may be absent: no query says null."""
    if isinstance(piece.get("type"), list):
        return {key: value for key, value in piece.items() if key != "default"} | {"type": piece["type"][0]}
    options = [each for each in piece.get("anyOf", ()) if each.get("type") != "null"]
    if len(options) != 1:
        return dict(piece)
    kept: Piece = {key: value for key, value in piece.items() if key not in {"anyOf", "default"}}
    kept.update(options[0])
    return kept
