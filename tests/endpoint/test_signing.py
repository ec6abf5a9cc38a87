"""Signing: the same claims give the same bytes, in every version."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import jwt
import pytest
from flask import Flask

from chatapi.domain.principals import AccessToken
from chatapi.signing import configure, read_signed, sign, sign_with

SECRET = "a secret of the tests that is long enough for HS256"
KEPT = AccessToken(
    tenant_id="019ab2c0-0000-7000-8000-000000000001",
    user_id="019ab2c0-0000-7000-8000-000000000002",
    jti="019ab2c0-0000-7000-8000-000000000003",
    issued_at=datetime(2026, 11, 21, tzinfo=UTC),
    expires_at=datetime(2126, 11, 21, tzinfo=UTC),
)
SIGNED = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJmcmVzaCI6ZmFsc2UsImlhdCI6MTc5NTIxOTIwMCwianRpIjoiMDE5YWIyYzA"
    "tMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAzIiwidHlwZSI6ImFjY2VzcyIsInN1YiI6IjAxOWFiMmMwLTAwMDAtNzAwMC04MDA"
    "wLTAwMDAwMDAwMDAwMiIsImF1ZCI6ImNoYXRhcGkiLCJpc3MiOiJjaGF0YXBpIiwiZXhwIjo0OTUwODkyODAwLCJ0aWQiOiIwMTl"
    "hYjJjMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDEifQ.PG3v_Vw6qfxZLSlCSCmdBvmxgmjWGJ2yJ7wm7h3ZH6M"
)


@pytest.fixture
def app() -> Flask:
    return app_of(SECRET)


def app_of(secret: str) -> Flask:
    made = Flask("chatapi")
    configure(made, secret)
    return made


def test_an_access_token_that_an_earlier_version_gave_is_signed_to_the_same_bytes(app: Flask) -> None:
    with app.app_context():
        assert sign(KEPT) == SIGNED
    assert sign_with(SECRET, KEPT) == SIGNED


def test_what_was_signed_reads_back_and_only_with_the_same_secret(app: Flask) -> None:
    with app.app_context():
        claims = read_signed(SIGNED)
        assert (claims["tid"], claims["sub"], claims["jti"]) == (KEPT.tenant_id, KEPT.user_id, KEPT.jti)
        expired = sign(replace(KEPT, expires_at=datetime(2026, 1, 1, tzinfo=UTC)))
        with pytest.raises(jwt.ExpiredSignatureError):
            read_signed(expired)
    with app_of(SECRET[::-1]).app_context(), pytest.raises(jwt.InvalidSignatureError):
        read_signed(SIGNED)
