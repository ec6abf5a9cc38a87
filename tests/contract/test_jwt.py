"""CONTRACT §2 to §5: no, malformed, expired, forged and revoked access tokens, on every route in its dialect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from tests.support.faults import FaultyUpstream
from tests.support.gateway import JWT_SECRET, Gateway
from tests.support.routes import API, CHAT, NO_SUCH_TOKEN, ROUTES, Route, name_of

Forge = Callable[[str], str]


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def by_hand(header: dict[str, Any], claims: dict[str, Any], *, signed: bool) -> str:
    """A JWT with any header, signed with HS256 whatever the header says, or not at all."""
    content = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    digest = hmac.new(JWT_SECRET.encode(), content.encode(), hashlib.sha256).digest() if signed else b""
    return f"{content}.{encode(digest)}"


def with_claims(**changes: Any) -> Forge:
    """A good signature over the claims with these changes; None leaves a claim out."""

    def forge(token: str) -> str:
        claims = {**claims_of(token), **changes}
        return jwt.encode({name: value for name, value in claims.items() if value is not None}, JWT_SECRET, "HS256")

    return forge


def with_header(algorithm: str, *, signed: bool) -> Forge:
    return lambda token: by_hand({"alg": algorithm, "typ": "JWT"}, claims_of(token), signed=signed)


def with_algorithm(algorithm: str) -> Forge:
    return lambda token: jwt.encode(claims_of(token), JWT_SECRET, algorithm)


def with_key(key: str) -> Forge:
    return lambda token: jwt.encode(claims_of(token), key, "HS256")


def tampered(token: str) -> str:
    header, _, signature = token.split(".")
    claims = {**claims_of(token), "exp": int(time.time()) + 10**8}
    return f"{header}.{encode(json.dumps(claims).encode())}.{signature}"


NOW = int(time.time())
# What does not verify at all.
MALFORMED: dict[str, Forge] = {
    "alg none": with_header("none", signed=False),
    "alg None with a signature": with_header("None", signed=True),
    "alg RS256 over an HMAC": with_header("RS256", signed=True),
    "alg ES256 over an HMAC": with_header("ES256", signed=True),
    "alg HS512": with_algorithm("HS512"),
    "alg HS384": with_algorithm("HS384"),
    "no alg": lambda token: by_hand({"typ": "JWT"}, claims_of(token), signed=True),
    "exp missing": with_claims(exp=None),
    "exp passed": with_claims(exp=NOW - 60),
    "exp no number": with_claims(exp="never"),
    "nbf ahead": with_claims(nbf=NOW + 3600),
    "iss wrong": with_claims(iss="another"),
    "iss missing": with_claims(iss=None),
    "aud wrong": with_claims(aud="another"),
    "aud missing": with_claims(aud=None),
    "type refresh": with_claims(type="refresh"),
    "type missing": with_claims(type=None),
    "sub missing": with_claims(sub=None),
    "sub a number": with_claims(sub=1),
    "sub no id": with_claims(sub="someone"),
    "jti missing": with_claims(jti=None),
    "jti a list": with_claims(jti=["a"]),
    "another installation's key": with_key("the key of another installation, long enough by far"),
    "tampered": tampered,
    "without its signature": lambda token: token.rsplit(".", 1)[0],
    "with an empty signature": lambda token: token.rsplit(".", 1)[0] + ".",
    "half of it": lambda token: token[: len(token) // 2],
    "its last letters cut off": lambda token: token[:-4],
    "with a letter more": lambda token: token + "A",
    "twice": lambda token: token + token,
    "no JWT at all": lambda token: "sk-0123456789",
    "dots": lambda token: "..",
    "not ASCII": lambda token: "\u00e9.\u00e9.\u00e9",
    "very long": lambda token: "A" * 6000,
    "claims that are a list": lambda token: jwt.api_jws.encode(b"[]", JWT_SECRET, "HS256"),
}
# A good signature, but an access token that is not known so.
UNKNOWN: dict[str, Forge] = {
    "another jti": with_claims(jti=str(uuid.uuid4())),
    "a jti that is no id": with_claims(jti="'; DROP TABLE users; --"),
    "another sub": with_claims(sub=str(uuid.uuid4())),
    "another tenant": with_claims(tid=str(uuid.uuid4())),
}


def ask_with(gateway: Gateway, route: Route, token: str, text: str = "hello") -> Any:
    authorization = f"Bearer {token}".encode()
    return route.ask(gateway, text, None, headers={b"Authorization": authorization})  # type: ignore[dict-item]


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
@pytest.mark.parametrize("forge", MALFORMED.values(), ids=MALFORMED)
def test_what_does_not_verify_is_refused(gateway: Gateway, route: Route, forge: Forge) -> None:
    answer = ask_with(gateway, route, forge(gateway.somebody))
    assert answer.status_code == 401
    route.refusal(answer)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
@pytest.mark.parametrize("forge", UNKNOWN.values(), ids=UNKNOWN)
def test_a_good_signature_over_unknown_claims_is_refused(gateway: Gateway, route: Route, forge: Forge) -> None:
    answer = ask_with(gateway, route, forge(gateway.somebody))
    assert answer.status_code == 401
    message = route.refusal(answer)
    if route in (API, CHAT):
        assert message == NO_SUCH_TOKEN


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Basic dXNlcjpwYXNzd29yZA==", "{token}", "Token {token}"]
)
def test_another_scheme_or_none_is_refused(gateway: Gateway, route: Route, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.format(token=gateway.somebody)}
    answer = route.ask(gateway, "hello", None, headers=headers)
    assert answer.status_code == 401
    route.refusal(answer)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_jwt_elsewhere_than_in_its_header_is_refused(gateway: Gateway, route: Route) -> None:
    cookies = {"Cookie": f"access_token_cookie={gateway.somebody}"}
    answer = route.ask(gateway, "hello", None, headers=cookies)
    assert answer.status_code == 401
    route.refusal(answer)
    in_query = gateway.http.request("GET" if route.body is None else "POST", f"{route.path}?jwt={gateway.somebody}")
    assert in_query.status_code == 401


def test_revoked_access_tokens_are_refused_on_every_route_and_never_reach_the_upstream(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    # Every process has seen it before it is revoked: none may go on from memory.
    assert all(route.ask(gateway, "hello", token).status_code == 200 for route in ROUTES)
    gateway.cli("users", "disable", user.name)
    for route in ROUTES * 2:
        answer = route.ask(gateway, marker, token)
        assert answer.status_code == 401
        message = route.refusal(answer)
        if route in (API, CHAT):
            assert message == NO_SUCH_TOKEN
    assert not faults.about(marker)


def test_what_verified_a_moment_ago_is_refused_once_it_has_expired(gateway: Gateway) -> None:
    expires_at = int(time.time()) + 3
    token = with_claims(exp=expires_at)(gateway.somebody)
    assert [ask_with(gateway, route, token).status_code for route in ROUTES] == [200] * len(ROUTES)
    time.sleep(max(0.0, expires_at - time.time()) + 0.1)
    for route in ROUTES * 2:
        answer = ask_with(gateway, route, token)
        assert answer.status_code == 401
        assert "expired" in route.refusal(answer)


def test_a_near_miss_of_what_verified_a_moment_ago_is_refused(gateway: Gateway) -> None:
    token = gateway.somebody
    assert ask_with(gateway, API, token).status_code == 200
    for position in range(0, len(token), 7):
        other = "A" if token[position] != "A" else "B"
        answer = ask_with(gateway, API, token[:position] + other + token[position + 1 :])
        assert answer.status_code == 401, position


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_the_good_one_is_accepted(gateway: Gateway, route: Route) -> None:
    assert ask_with(gateway, route, gateway.somebody).status_code == 200
