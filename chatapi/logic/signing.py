"""Signing access tokens and reading them back: what verifies here was signed here, with the installation's secret.

A JWT is kept nowhere. It has no random part and its claims are in a fixed order, so that signing the same claims again
gives the same bytes. Source: RFC 7519.
"""

from __future__ import annotations

from typing import Any

import jwt

from chatapi.domain.principals import AccessToken

ALGORITHM = "HS256"
NAME = "chatapi"  # issuer and audience
CLAIMS = ["exp", "iat", "iss", "aud", "sub", "tid", "jti", "type"]  # without one of these it is none of ours


def sign(secret: str, access_token: AccessToken) -> str:
    """The JWT of an access token."""
    claims = {
        "fresh": False,
        "iat": int(access_token.issued_at.timestamp()),
        "jti": access_token.jti,
        "type": "access",
        "sub": access_token.user_id,
        "aud": NAME,
        "iss": NAME,
        "exp": int(access_token.expires_at.timestamp()),
        "tid": access_token.tenant_id,
    }
    return jwt.encode(claims, secret, ALGORITHM)


def read_signed(secret: str, access_token: str) -> dict[str, Any]:
    """The claims of a JWT that verifies: signature, algorithm, expiry, issuer, audience, and that none is missing.

    `iat` is not compared with this machine's clock: it is the database's time, and machines may disagree about that.

    Raises:
        jwt.ExpiredSignatureError: it has expired.
        jwt.PyJWTError: it does not verify.
    """
    return jwt.decode(
        access_token,
        secret,
        algorithms=[ALGORITHM],
        issuer=NAME,
        audience=NAME,
        options={"require": CLAIMS, "verify_iat": False},
    )
