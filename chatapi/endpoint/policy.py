"""Policy: each blueprint declares who may use it, when it is made; there is no way to forget.

A bearer route is entered only with an access token whose signature, expiry, type, issuer and audience verify: CPU only.
Whether it is still in force is read from the database where the route does its work (for calls: in their admission).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import jwt
from flask import Blueprint, Response, current_app, g, request
from flask.globals import request_ctx
from flask.sansio.app import App

from chatapi.domain.names import is_id
from chatapi.domain.principals import Claims
from chatapi.endpoint.verified_access_tokens import VerifiedAccessTokens, digest_of
from chatapi.errors import InvalidAccessToken, UnknownAccessToken
from chatapi.signing import read_signed

VERIFIED = "chatapi.verified_access_tokens"
MISSING = "The access token is missing or not valid. Send: Authorization: Bearer <access token>"


class Auth(Enum):
    """Who may use a blueprint's routes."""

    PUBLIC = "public"
    BEARER = "bearer"


class PolicedBlueprint(Blueprint):
    """A blueprint that knows its policy."""

    def __init__(self, name: str, import_name: str, auth: Auth) -> None:
        super().__init__(name, import_name)
        self.auth = auth
        self.before_request(_enter_known if auth is Auth.BEARER else _tell_methods)

    def register(self, app: App, options: dict[str, Any]) -> None:
        """Enter the routes. HEAD is not among them: it would run GET, which here costs tokens that nobody sees."""
        super().register(app, options)
        app.extensions.setdefault(VERIFIED, VerifiedAccessTokens())
        if self.auth is Auth.BEARER:
            for rule in app.url_map.iter_rules():
                if rule.methods is not None and rule.endpoint.startswith(f"{self.name}."):
                    rule.methods.discard("HEAD")


def _tell_methods() -> Response | None:
    if request.method != "OPTIONS" or request.url_rule is None:
        return None
    adapter = request_ctx.url_adapter  # a path may have several rules, each with methods of its own
    allowed = adapter.allowed_methods() if adapter is not None else ()
    response = Response(status=204, headers={"Allow": ", ".join(sorted(allowed))})
    del response.headers["Content-Type"]  # of nothing
    return response


def _enter_known() -> Response | None:
    methods = _tell_methods()
    if methods is None:
        g.claims = found = verified_claims()
        g.line.know(found)
    return methods


def verified_claims() -> Claims:
    """The claims of the request's access token.

    Raises:
        InvalidAccessToken: there is none, or it does not verify.
        UnknownAccessToken: it is of nobody that could be known here.
    """
    scheme, _, credentials = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidAccessToken(MISSING)
    access_token = credentials.strip()
    known: VerifiedAccessTokens = current_app.extensions[VERIFIED]
    digest = digest_of(access_token)
    found = known.find(digest)
    if found is None:
        found, expires_at = _verify(access_token)
        known.remember(digest, found, expires_at)
    return found


def _verify(access_token: str) -> tuple[Claims, int]:
    """The claims, and when they expire."""
    try:
        signed = read_signed(access_token)
        expires_at = int(signed["exp"])
    except jwt.ExpiredSignatureError as error:
        raise InvalidAccessToken("The access token has expired. Get a new one at /token.") from error
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidAccessToken(MISSING) from error
    ids = [signed[name] for name in ("tid", "sub", "jti")]
    if signed["type"] != "access" or not all(isinstance(value, str) for value in ids):
        raise InvalidAccessToken("The access token lacks a claim that it must have.")
    if not all(is_id(value) for value in ids):
        raise UnknownAccessToken
    return Claims(tenant_id=signed["tid"], user_id=signed["sub"], jti=signed["jti"]), expires_at


def claims() -> Claims:
    """The claims that this request was let in with."""
    found: Claims = g.claims
    return found
