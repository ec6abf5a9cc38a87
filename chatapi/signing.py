"""Signing access tokens, by flask-jwt-extended, and reading them back: what verifies here was signed here.

A JWT is kept nowhere. It has no random part and its claims are in a fixed order, so that signing the same claims again
gives the same bytes, over HTTP and by commands. Source: RFC 7519.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import jwt
from flask import Flask, current_app
from flask_jwt_extended import JWTManager, create_access_token

from chatapi.domain.principals import AccessToken

NAME = "chatapi"  # issuer and audience
CLAIMS = ["exp", "iat", "iss", "aud", "sub", "tid", "jti", "type"]  # without one of these it is none of ours


def configure(app: Flask, secret: str) -> None:
    """Have an app sign with this secret."""
    app.config.update(
        JWT_SECRET_KEY=secret,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ENCODE_ISSUER=NAME,
        JWT_DECODE_ISSUER=NAME,
        JWT_ENCODE_AUDIENCE=NAME,
        JWT_DECODE_AUDIENCE=NAME,
        JWT_ENCODE_NBF=False,
        JWT_COOKIE_CSRF_PROTECT=False,  # else a random claim would make every JWT different
    )
    JWTManager(app)


def sign(access_token: AccessToken) -> str:
    """The JWT of an access token, by the current app."""
    claims = {
        "iat": int(access_token.issued_at.timestamp()),
        "exp": int(access_token.expires_at.timestamp()),
        "jti": access_token.jti,
        "tid": access_token.tenant_id,
    }
    signed: str = create_access_token(access_token.user_id, fresh=False, expires_delta=False, additional_claims=claims)
    return signed


def sign_with(secret: str, access_token: AccessToken) -> str:
    """The same where no app serves: in a command."""
    with _app(secret).app_context():
        return sign(access_token)


def read_signed(access_token: str) -> dict[str, Any]:
    """The claims of a JWT that verifies: signature, algorithm, expiry, issuer, audience, and that none is missing.

    As they were signed; flask-jwt-extended would fill in those that are missing. `iat` is not compared with this
    machine's clock: it is the database's time, and machines may disagree about that.

    Raises:
        jwt.ExpiredSignatureError: it has expired.
        jwt.PyJWTError: it does not verify.
    """
    config = current_app.config
    return jwt.decode(
        access_token,
        config["JWT_SECRET_KEY"],
        algorithms=config["JWT_DECODE_ALGORITHMS"],
        issuer=config["JWT_DECODE_ISSUER"],
        audience=config["JWT_DECODE_AUDIENCE"],
        options={"require": CLAIMS, "verify_iat": False},
    )


@cache
def _app(secret: str) -> Flask:
    app = Flask("chatapi", static_folder=None)
    configure(app, secret)
    return app
