"""Invitations: `GET /invitation`, a page that sets a password, and `POST /invitations`, which does it; both public."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Annotated

from flask import Response, request
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import Field

from chatapi.domain.passwords import LONGEST_PASSWORD
from chatapi.endpoint.context import runtime
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.endpoint.shapes import Body, Text, read_body
from chatapi.logic import invitations as logic

blueprint = PolicedBlueprint("invitations", __name__, Auth.PUBLIC)

_FOLDER = files("chatapi") / "data" / "invitation"


class Acceptance(Body):
    """What the one who was invited sends."""

    invitation: Text = Field(repr=False, description="What follows the `#` of the link.")
    password: Annotated[str, Field(min_length=1, max_length=LONGEST_PASSWORD, repr=False)]


def _text(name: str) -> str:
    return (_FOLDER / name).read_text("utf-8").strip()


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


STYLE, SCRIPT = _text("style.css"), _text("script.js")
PAGE = (
    Environment(autoescape=True, undefined=StrictUndefined)
    .from_string(_text("page.html"))
    .render(style=Markup(STYLE), script=Markup(SCRIPT))
)
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hashed(SCRIPT)}; style-src {_hashed(STYLE)}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@blueprint.get("/invitation")
def show() -> Response:
    """The page, the same for everybody: the secret is in the address's fragment, which never comes here."""
    return Response(PAGE, mimetype="text/html", headers=HEADERS)


@blueprint.post("/invitations")
def accept() -> Response:
    """Set the password of whoever was invited, and use the invitation up: 204."""
    body = read_body(Acceptance)
    logic.accept(runtime(), body.invitation, body.password, request.remote_addr or "")
    response = Response(status=204)
    del response.headers["Content-Type"]  # of nothing
    return response
