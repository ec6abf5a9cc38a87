"""Every route declares who may use it, and a route that may not be used without an access token cannot be."""

from __future__ import annotations

import re

import jwt
import pytest
from flask import Flask

from chatapi.app import create_app
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.settings import load_settings
from tests.support.gateway import JWT_SECRET, Gateway
from tests.support.http import exchange_bytes
from tests.support.routes import COMPLETIONS, POST_ROUTES, ROUTES, Route, name_of

one_gateway = pytest.mark.parametrize("gateway", ["sqlite"], indirect=True)

PUBLIC = {"/token", "/invitation", "/invitations", "/healthz", "/readyz", "/openapi.json", "/docs"}


@pytest.fixture
def app(sqlite_url: str) -> Flask:
    settings = load_settings(database_url=sqlite_url, openai_api_key="sk-none", jwt_secret_key="s" * 32)
    return create_app(settings)


def test_every_blueprint_has_a_policy(app: Flask) -> None:
    assert app.blueprints
    assert all(isinstance(blueprint, PolicedBlueprint) for blueprint in app.blueprints.values())


def test_only_the_named_routes_are_public(app: Flask) -> None:
    public = set()
    for rule in app.url_map.iter_rules():
        blueprint = app.blueprints[rule.endpoint.split(".")[0]]
        assert isinstance(blueprint, PolicedBlueprint)
        if blueprint.auth is Auth.PUBLIC:
            public.add(rule.rule)
    assert public == PUBLIC


def test_every_other_route_answers_401_without_an_access_token(app: Flask) -> None:
    client = app.test_client()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            if rule.rule not in PUBLIC:
                assert client.open(path, method=method).status_code == 401, (method, path)


@one_gateway
@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_known_however_it_is_written(gateway: Gateway, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {gateway.somebody}"}
    assert COMPLETIONS.ask(gateway, "hello", None, headers=headers).status_code == 200


@one_gateway
@pytest.mark.parametrize("kind", [None, "refresh", 1])
def test_only_access_tokens_that_say_so_are_let_in(gateway: Gateway, kind: object) -> None:
    claims = jwt.decode(gateway.somebody, options={"verify_signature": False}) | {"type": kind}
    forged = jwt.encode({name: value for name, value in claims.items() if value is not None}, JWT_SECRET, "HS256")
    assert COMPLETIONS.ask(gateway, "hello", forged).status_code == 401


@one_gateway
@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_401_says_how_to_authenticate(gateway: Gateway, route: Route) -> None:
    for authorization in (None, "Basic eDp5", "Bearer"):
        headers = {} if authorization is None else {"Authorization": authorization}
        assert route.ask(gateway, "hello", None, headers=headers).headers["WWW-Authenticate"] == "Bearer"
    assert route.ask(gateway, "hello", "x.y.z").headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    user = gateway.users.take("plain")
    token = gateway.token(user)
    gateway.cli("users", "disable", user.name)
    revoked = route.ask(gateway, "hello", token)
    assert (revoked.status_code, revoked.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')


@one_gateway
def test_a_wrong_password_is_no_matter_of_access_tokens(gateway: Gateway) -> None:
    refused = gateway.exchange("nobody", address=gateway.address())
    assert refused.status_code == 401
    assert "WWW-Authenticate" not in refused.headers


@one_gateway
@pytest.mark.parametrize("access_token", [True, False])
def test_head_is_not_allowed_where_get_costs(gateway: Gateway, access_token: bool) -> None:
    token = gateway.somebody if access_token else None
    answer = gateway.http.request("HEAD", "/api?q=hello", access_token=token)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, OPTIONS")
    assert gateway.http.request("HEAD", "/healthz").status_code == 200


@one_gateway
def test_options_tells_the_methods_to_everybody(gateway: Gateway) -> None:
    posts = dict.fromkeys((route.path for route in POST_ROUTES), "OPTIONS, POST")
    for path, allowed in {"/api": "GET, OPTIONS", **posts}.items():
        request = f"OPTIONS {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
        head, _, body = exchange_bytes(gateway.base_url, request.encode()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 204 ")
        assert f"\r\nAllow: {allowed}\r\n" in head.decode()
        assert b"Content-Type" not in head
        assert not body
