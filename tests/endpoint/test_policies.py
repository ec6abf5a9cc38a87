"""Every route declares who may use it, and a route that may not be used without an access token cannot be."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from chatapi.app import create_app
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.settings import load_settings

PUBLIC = {"/token", "/healthz", "/readyz"}


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
