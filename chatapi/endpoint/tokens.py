"""`POST /token`: a username and a password for an access token (CONTRACT §1)."""

from __future__ import annotations

from flask import Response, request

from chatapi.endpoint.bodies import json_object
from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import envelope, json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.errors import InvalidRequest
from chatapi.logic import tokens
from chatapi.signing import sign

blueprint = PolicedBlueprint("tokens", __name__, Auth.PUBLIC)


@blueprint.post("/token")
def exchange() -> Response:
    """Trade a username and a password for the user's access token: 201 for a new one, 200 for the one still valid."""
    body = json_object()
    username, password = _string(body, "u", "the username"), _string(body, "p", "the password")
    found = tokens.exchange(runtime(), username, password, request.remote_addr or "")
    expires_at = found.access_token.expires_at.astimezone(runtime().settings.zone)
    message = {
        "username": found.username,
        "token": sign(found.access_token),
        "expiration_time": f"{expires_at:%Y-%m-%d %H:%M:%S}",
    }
    return json_response(envelope(message, good=True), 201 if found.created else 200)


def _string(body: dict[str, object], name: str, what: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{name}' ({what}) must be given, as a string", param=name)
    return value
