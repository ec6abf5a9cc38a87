"""The OpenAPI document, put together from its pieces; the same for every installation of this version."""

from __future__ import annotations

from chatapi import __version__
from chatapi.endpoint.dialects import dialect_of
from chatapi.endpoint.openapi import (
    invitations,
    me,
    media,
    model_endpoints,
    questions,
    refusals,
    resources,
    service,
    texts,
)
from chatapi.endpoint.openapi.operations import head_of, options_of
from chatapi.endpoint.openapi.pieces import Piece, ref, string

DESCRIPTION = """\
A gateway to chat models, for several tenants: every call is admitted against exact quotas, sent to an upstream, and
settled to the last token.

`POST /token` trades a username and a password for an access token; the other routes take it as
`Authorization: Bearer …`. With OpenAI's SDKs it is the `api_key`, and this address with `/v1` the `base_url`.

JSON bodies are at most 2 MiB (unless the installation says otherwise), 64 levels deep and of 100,000 values. What is
no JSON object, is not UTF-8, or breaks off, is refused. Every reply has an `X-Request-Id`: yours, if you sent a sane
one."""

TAGS = {
    questions.TOKENS: "How to get in.",
    questions.QUESTIONS: "One question, one answer.",
    model_endpoints.TAG: "As OpenAI's API reference has them. Parameters that are not named here go to the upstream as "
    "they are; its replies come as it wrote them.",
    me.TAG: "What users may know of themselves. Nothing of it is metered.",
    resources.TAG: "What admins do for their tenant, and operators for all; `chatapi` has a command for each. Errors "
    "are problem details (RFC 9457).",
    service.TAG: "What is asked about the service itself, without an access token.",
    "Methods": "`OPTIONS` on every route; `HEAD` where `GET` costs nothing.",
}


def document() -> Piece:
    """The whole document, made anew."""
    paths = _paths()
    return {
        "openapi": "3.1.1",
        "info": {"title": "ChatAPI", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "security": [{"access_token": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": _used(refusals.responses(), paths),
            "headers": refusals.headers(),
            "parameters": {"If-None-Match": _if_none_match(), "Idempotency-Key": _idempotency_key()},
            "securitySchemes": {"access_token": _access_token()},
        },
    }


def _schemas() -> Piece:
    own = questions.schemas() | model_endpoints.schemas() | refusals.schemas()
    return own | texts.schemas() | media.schemas() | me.schemas() | resources.schemas() | invitations.schemas()


def _paths() -> Piece:
    paths = questions.paths() | invitations.paths() | model_endpoints.paths() | me.paths() | service.paths()
    for path, item in resources.paths().items():
        paths[path] = paths.get(path, {}) | item
    return {path: _with_other_methods(path, item) for path, item in paths.items()}


def _with_other_methods(path: str, item: Piece) -> Piece:
    """`HEAD` is where nobody must say who they are: elsewhere a GET costs tokens that nobody would see."""
    get = item.get("get")
    head = {"head": head_of(get)} if get is not None and "security" in get else {}
    return item | head | {"options": options_of(path, next(iter(item.values())), dialect_of(path))}


def _used(responses: Piece, paths: Piece) -> Piece:
    """Those that a route refers to."""
    operations = [operation for item in paths.values() for operation in item.values()]
    used = {told.get("$ref") for operation in operations for told in operation["responses"].values()}
    return {name: told for name, told in responses.items() if ref("responses", name)["$ref"] in used}


def _if_none_match() -> Piece:
    said = {"name": "If-None-Match", "in": "header", "description": "The `ETag` of what you have already."}
    return said | {"schema": string()}


def _idempotency_key() -> Piece:
    described = "A repeat of the same request under the same key, within a day, gets the same reply and is not charged."
    said = {"name": "Idempotency-Key", "in": "header", "description": described}
    return said | {"schema": string(pattern="^[ -~]{1,255}$")}


def _access_token() -> Piece:
    described = "The JWT that `POST /token` gives. The scheme's name may be written in any case."
    return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": described}
