"""The OpenAPI document at /openapi.json, which names every route and nothing else; and the page at /docs, which shows
all of it and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from chatapi import __version__
from chatapi.app import create_app
from chatapi.domain.endpoints import ENDPOINTS
from chatapi.domain.user_csv import parse
from chatapi.endpoint.policy import Auth, PolicedBlueprint
from chatapi.settings import load_settings
from tests.support.postgres import SQLiteTemplate

SECRET = "a secret of the installation that is long enough"
KEY = "sk-of-the-installation"


@pytest.fixture(scope="module")
def app(sqlite_template: SQLiteTemplate, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    folder = tmp_path_factory.mktemp("openapi")
    url = sqlite_template.copy_to(folder / "chatapi.sqlite3")
    return create_app(load_settings(database_url=url, openai_api_key=KEY, jwt_secret_key=SECRET, var_dir=folder))


@pytest.fixture(scope="module")
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").get_json()
    return found


@pytest.fixture(scope="module")
def page(client: FlaskClient) -> str:
    return client.get("/docs").get_data(as_text=True)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def pieces(value: Any) -> Iterator[Any]:
    """Everything in the document."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from pieces(part)


def routes(app: Flask) -> dict[tuple[str, str], Auth]:
    """Path and method of all that the app answers, and who may use it."""
    found: dict[tuple[str, str], Auth] = {}
    for rule in app.url_map.iter_rules():
        blueprint = app.blueprints[rule.endpoint.split(".")[0]]
        assert isinstance(blueprint, PolicedBlueprint)
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        found |= {(path, method): blueprint.auth for method in rule.methods or ()}
    return found


def test_every_route_and_method_is_in_the_document_and_nothing_else(app: Flask, document: dict[str, Any]) -> None:
    documented = {(path, method) for path, method, _ in operations(document)}
    assert documented == routes(app).keys()
    assert {path for path, _ in documented} >= ENDPOINTS.keys()


def test_an_operation_needs_an_access_token_exactly_where_its_route_does(app: Flask, document: dict[str, Any]) -> None:
    assert document["security"] == [{"access_token": []}]
    assert document["components"]["securitySchemes"]["access_token"]["scheme"] == "bearer"
    auth = routes(app)
    for path, method, operation in operations(document):
        is_public = method == "OPTIONS" or auth[path, method] is Auth.PUBLIC
        assert operation.get("security") == ([] if is_public else None), (method, path)
        assert is_public or "401" in operation["responses"], (method, path)


def test_every_operation_says_what_it_does_under_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert operation["summary"] and set(operation["tags"]) <= tags, (method, path)
        names_in_path = set(re.findall(r"{(\w+)}", path)) if method != "OPTIONS" else set()
        given = {parameter.get("name") for parameter in operation.get("parameters", ())}
        assert names_in_path <= given, (method, path)


def test_all_that_is_referred_to_is_there_and_all_that_is_there_is_referred_to(document: dict[str, Any]) -> None:
    referred = {piece["$ref"] for piece in pieces(document) if isinstance(piece, dict) and "$ref" in piece}
    there = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert referred == there


def test_every_body_has_an_example_that_could_be_sent(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
            if media_type == "text/csv":
                assert parse(io.StringIO(content["example"])), (method, path)
                continue
            schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
            assert set(schema.get("required", ())) <= content["example"].keys(), (method, path, media_type)


def test_the_document_names_the_version_and_no_secret(client: FlaskClient, document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == __version__
    for path in ("/openapi.json", "/docs"):
        said = client.get(path).get_data(as_text=True)
        assert SECRET not in said and KEY not in said and "sqlite" not in said


@pytest.mark.parametrize(
    ("path", "media_type"), [("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")]
)
def test_who_has_the_document_already_is_not_sent_it_again(client: FlaskClient, path: str, media_type: str) -> None:
    first = client.get(path)
    assert (first.status_code, first.headers["Content-Type"]) == (200, media_type)
    assert first.headers["Cache-Control"] == "public, no-cache"
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    other = client.get(path, headers={"If-None-Match": '"of another version"'})
    assert (other.status_code, other.data) == (200, first.data)
    head = client.head(path)
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(first.data)))


class _Page(HTMLParser):
    """What a page consists of; every element is closed, in order."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data


def test_the_page_shows_every_operation_and_every_schema(document: dict[str, Any], page: str) -> None:
    ids = [attributes["id"] for _, attributes in _Page(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    shown = {
        operation["operationId"] for _, method, operation in operations(document) if method not in {"HEAD", "OPTIONS"}
    }
    assert shown | {f"schema-{name}" for name in document["components"]["schemas"]} <= set(ids)


def test_the_page_loads_nothing_and_its_links_lead_somewhere(client: FlaskClient, page: str) -> None:
    read = _Page(page)
    assert {"script", "link", "img", "iframe", "form"}.isdisjoint(tag for tag, _ in read.elements)
    assert not [attributes for _, attributes in read.elements if "style" in attributes or "src" in attributes]
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    ids = {attributes.get("id") for _, attributes in read.elements}
    for href in (attributes["href"] or "" for tag, attributes in read.elements if tag == "a"):
        assert href[1:] in ids if href.startswith("#") else client.get(href).status_code == 200, href


def test_the_pages_policy_allows_its_own_style_and_nothing_else(client: FlaskClient, page: str) -> None:
    digest = base64.b64encode(hashlib.sha256(_Page(page).style.encode()).digest()).decode()
    policy = {
        words[0]: words[1:]
        for part in client.get("/docs").headers["Content-Security-Policy"].split(";")
        if (words := part.split())
    }
    assert policy["default-src"] == ["'none'"]
    assert policy["style-src"] == [f"'sha256-{digest}'"]
    assert policy.keys() == {"default-src", "style-src", "base-uri", "form-action", "frame-ancestors"}


def test_the_page_shows_text_as_text(document: dict[str, Any]) -> None:
    from chatapi.endpoint.openapi.page import page

    changed = json.loads(json.dumps(document))
    changed["info"]["description"] = "<script>alert(1)</script> & `<b>`"
    made = page(changed)
    assert "<script" not in made
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; <code>&lt;b&gt;</code>" in made


@pytest.mark.parametrize("path", ["/", "/admin", "/v1/nothing", "/chatgpt_prompt/nothing"])
def test_where_nothing_is_the_page_is_named(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "GET /docs" in answer.get_data(as_text=True)
