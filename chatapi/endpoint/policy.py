"""Policy: each blueprint declares who may use it, when it is made; there is no way to forget.

A bearer route is entered only with an access token whose signature, expiry, type, issuer and audience verify: CPU only.
Whether it is still in force is read from the database where the route does its work (for calls: in their admission).
"""

from __future__ import annotations

from enum import Enum
from uuid import UUID

from flask import Blueprint, g, request
from flask_jwt_extended import get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from chatapi.domain.principals import Claims
from chatapi.errors import InvalidAccessToken, InvalidRequest


class Auth(Enum):
    """Who may use a blueprint's routes."""

    PUBLIC = "public"
    BEARER = "bearer"


class PolicedBlueprint(Blueprint):
    """A blueprint that knows its policy."""

    def __init__(self, name: str, import_name: str, auth: Auth) -> None:
        super().__init__(name, import_name)
        self.auth = auth
        if auth is Auth.BEARER:
            self.before_request(_authenticate)


def _authenticate() -> None:
    if request.method == "OPTIONS":
        return
    if request.method == "HEAD":  # Flask answers it by running GET, which here costs tokens that nobody sees
        raise InvalidRequest("HEAD is not allowed here; use GET", status=405)
    g.claims = verified_claims()
    g.line.know(g.claims)


def verified_claims() -> Claims:
    """The claims of the request's access token.

    Raises:
        InvalidAccessToken: there is none, or it does not verify.
    """
    try:
        verify_jwt_in_request()
    except ExpiredSignatureError as error:
        raise InvalidAccessToken("The access token has expired. Get a new one at /token.") from error
    except (JWTExtendedException, PyJWTError, ValueError) as error:
        problem = "The access token is missing or not valid. Send: Authorization: Bearer <access token>"
        raise InvalidAccessToken(problem) from error
    claims = get_jwt()
    if not isinstance(claims.get("exp"), int) or not all(_is_id(claims.get(name)) for name in ("tid", "sub", "jti")):
        raise InvalidAccessToken("The access token lacks a claim that it must have.")
    return Claims(tenant_id=claims["tid"], user_id=claims["sub"], jti=claims["jti"])


def claims() -> Claims:
    """The claims that this request was let in with."""
    found: Claims = g.claims
    return found


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False
