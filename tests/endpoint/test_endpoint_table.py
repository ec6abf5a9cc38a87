"""One path to the models: every route that can reach an upstream stands for an endpoint of the table."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from flask import Flask

from chatapi.app import create_app
from chatapi.domain.endpoints import ENDPOINTS, Endpoint
from chatapi.endpoint import metered
from chatapi.endpoint.resources import Resources
from chatapi.settings import load_settings
from chatapi.upstream.forms import FORMS, Streaming

ROOT = Path(__file__).resolve().parents[2] / "chatapi"
REACH_NO_MODEL = {
    "/token", "/healthz", "/readyz", "/v1/models", "/v1/models/<path:model>", "/docs", "/openapi.json",
    "/v1/me", "/v1/me/usage", "/v1/me/calls", "/v1/me/calls/<call_id>", "/invitation", "/invitations",
}  # fmt: skip
OVER_ANOTHER = {"/v1/completions over chat"}
RUNNERS = {"run", "open_stream"}


@pytest.fixture
def app(sqlite_url: str) -> Flask:
    return create_app(load_settings(database_url=sqlite_url, openai_api_key="sk-none", jwt_secret_key="s" * 32))


def test_every_route_that_can_reach_an_upstream_stands_for_an_endpoint_of_the_table(app: Flask) -> None:
    others = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if not isinstance(getattr(app.view_functions[rule.endpoint], metered.STANDS_FOR, None), Endpoint)
        and not isinstance(app.blueprints[rule.endpoint.split(".")[0]], Resources)  # which ask no model
    }
    assert others <= REACH_NO_MODEL


def test_every_endpoint_of_the_table_has_its_route_which_stands_for_it(app: Flask) -> None:
    views = {rule.rule: app.view_functions[rule.endpoint] for rule in app.url_map.iter_rules()}
    for path, endpoint in ENDPOINTS.items():
        assert getattr(views[path], metered.STANDS_FOR) is endpoint


def test_a_route_that_stands_for_nothing_reaches_no_model(app: Flask) -> None:
    with app.test_request_context("/healthz"), pytest.raises(RuntimeError, match="stands for no endpoint"):
        metered.run(ENDPOINTS["/v1/embeddings"].parse({"model": "m", "input": "a"}, ()))


def test_only_the_one_way_runs_calls() -> None:
    offenders = set()
    for path in (ROOT / "endpoint").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            imported = isinstance(node, ast.ImportFrom) and (
                (node.module == "chatapi.logic" and any(name.name == "calls" for name in node.names))
                or (node.module == "chatapi.logic.calls" and any(name.name in RUNNERS for name in node.names))
            )
            if imported or (isinstance(node, ast.Import) and any("logic.calls" in name.name for name in node.names)):
                offenders.add(path.name)
    assert offenders == {"metered.py"}


def test_both_tables_name_the_same_endpoints() -> None:
    assert FORMS.keys() - OVER_ANOTHER == ENDPOINTS.keys()
    for path, endpoint in ENDPOINTS.items():
        assert (FORMS[path].streaming is not Streaming.NEVER) == endpoint.streams
        assert FORMS[path].path == path.removeprefix("/v1")


def test_the_documentation_names_every_endpoint_of_the_table() -> None:
    for document in ("README.md", "docs/endpoints.md"):
        text = (ROOT.parent / document).read_text("utf-8")
        assert [path for path in ENDPOINTS if f"`{path.removeprefix('/v1/')}`" not in text and path not in text] == []
