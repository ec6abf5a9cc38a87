"""The routes about the service itself: its health, and this document."""

from __future__ import annotations

from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.openapi.operations import header, operation
from chatapi.endpoint.openapi.pieces import JSON, Piece, obj, reply, string
from chatapi.endpoint.openapi.refusals import REQUEST_ID, RETRY_AFTER, refused

TAG = "Service"
KEPT = (REQUEST_ID, "ETag", "Cache-Control")


def paths() -> Piece:
    """The routes."""
    return {
        "/healthz": {"get": _alive()},
        "/readyz": {"get": _ready()},
        "/openapi.json": {"get": _page("read_openapi", "This document, in OpenAPI 3.1", JSON, obj("openapi", {}))},
        "/docs": {"get": _page("read_docs", "This document, to be read in a browser", "text/html", string())},
    }


def _alive() -> Piece:
    alive = obj("status", {"status": {"const": "alive"}}, open=False)
    replies = refused(Dialect.ENVELOPE) | {"200": reply("This process answers.", {JSON: alive}, (REQUEST_ID,))}
    return operation(TAG, "alive", "Whether this process is alive", "", replies, public=True)


def _ready() -> Piece:
    ready = obj("status", {"status": {"const": "ready"}}, open=False)
    not_ready = obj("status reason", {"status": {"const": "not ready"}, "reason": string(minLength=1)}, open=False)
    replies = refused(Dialect.ENVELOPE) | {
        "200": reply("Calls can be served.", {JSON: ready}, (REQUEST_ID,)),
        "503": reply("They cannot, and why.", {JSON: not_ready}, (REQUEST_ID, RETRY_AFTER)),
    }
    return operation(TAG, "ready", "Whether calls can be served", "", replies, public=True)


def _page(name: str, summary: str, media_type: str, piece: Piece) -> Piece:
    replies = refused(Dialect.ENVELOPE) | {
        "200": reply("It.", {media_type: piece}, KEPT),
        "304": reply("It has not changed.", headers=KEPT),
    }
    made = operation(TAG, name, summary, "", replies, public=True)
    return made | {"parameters": [header("If-None-Match")]}
