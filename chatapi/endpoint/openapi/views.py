"""`/openapi.json` and `/docs`: what this service offers, for programs and for people. Nothing in them is a secret."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import orjson
from flask import Response, request

from chatapi.endpoint.openapi.document import document
from chatapi.endpoint.openapi.page import POLICY, page
from chatapi.endpoint.policy import Auth, PolicedBlueprint

blueprint = PolicedBlueprint("openapi", __name__, Auth.PUBLIC)


@dataclass(frozen=True, slots=True)
class _Made:
    """What is sent, and the tag by which a client that has it already is known."""

    content: bytes
    etag: str


@cache
def _document() -> _Made:
    return _made(orjson.dumps(document()))


@cache
def _page() -> _Made:
    return _made(page(document()).encode())


def _made(content: bytes) -> _Made:
    return _Made(content, hashlib.sha256(content).hexdigest()[:32])


@blueprint.get("/openapi.json")
def read_openapi() -> Response:
    """The OpenAPI document, made once in each process."""
    return _reply(_document(), "application/json")


@blueprint.get("/docs")
def read_docs() -> Response:
    """The same as a page, which needs no other file and runs no script."""
    response = _reply(_page(), "text/html")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _reply(made: _Made, media_type: str) -> Response:
    response = Response(made.content, mimetype=media_type)
    response.set_etag(made.etag)
    response.headers["Cache-Control"] = "public, no-cache"  # kept, but asked for anew: a version may follow at any time
    response.make_conditional(request)
    return response
