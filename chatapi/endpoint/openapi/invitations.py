"""The routes of those who were invited, who have no access token yet."""

from __future__ import annotations

from chatapi.domain.passwords import LONGEST_PASSWORD
from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.openapi.operations import operation
from chatapi.endpoint.openapi.pieces import Piece, body, obj, reply, schema, string
from chatapi.endpoint.openapi.questions import TOKENS
from chatapi.endpoint.openapi.refusals import OF_BODIES, REQUEST_ID, refused


def paths() -> Piece:
    """The routes."""
    return {"/invitation": {"get": _page()}, "/invitations": {"post": _accept()}}


def schemas() -> Piece:
    """What they take."""
    properties = {
        "invitation": string("What follows the `#` of the link.", minLength=1, maxLength=256),
        "password": string(minLength=1, maxLength=LONGEST_PASSWORD, format="password"),
    }
    return {"Acceptance": obj("invitation password", properties, open=False)}


def _page() -> Piece:
    described = "The link that an invitation is leads here. The page is the same for everybody."
    replies = refused(Dialect.PROBLEM) | {"200": reply("It.", {"text/html": string()}, (REQUEST_ID,))}
    return operation(TOKENS, "show_invitation", "A page to set a password", described, replies, public=True)


def _accept() -> Piece:
    example = {"invitation": "AZ…", "password": "correct horse battery staple"}
    replies = refused(Dialect.PROBLEM, *OF_BODIES, 404, 429, 503) | {"204": reply("Done.", headers=(REQUEST_ID,))}
    return operation(
        TOKENS,
        "accept_invitation",
        "Set a password by an invitation",
        "It works once. An invitation that is unknown, used, withdrawn or expired is a 404, whichever it is.",
        replies,
        request=body(schema("Acceptance"), example),
        public=True,
    )
