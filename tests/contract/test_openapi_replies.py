"""What is really answered, refusals above all, is what the OpenAPI document says: status, headers, media type, body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from tests.support.gateway import Gateway
from tests.support.http import exchange_bytes
from tests.support.routes import CHAT, COMPLETIONS, MODEL, POST_ROUTES, ROUTES, Route, messages, name_of

pytestmark = pytest.mark.parametrize("gateway", ["sqlite"], indirect=True)

FAULTS = ("empty", "status-400", "status-401", "status-404", "status-429", "status-500", "disconnect", "garbage", "cut")


@pytest.fixture(scope="module")
def documents() -> dict[str, dict[str, Any]]:
    """The document of each gateway, read once."""
    return {}


@pytest.fixture
def document(gateway: Gateway, documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if gateway.base_url not in documents:
        documents[gateway.base_url] = gateway.http.get("/openapi.json").json()
    return documents[gateway.base_url]


def resolved(document: dict[str, Any], piece: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` points to."""
    found: Any = document
    for name in piece.get("$ref", "#")[2:].split("/") if "$ref" in piece else ():
        found = found[name]
    return found if "$ref" in piece else piece


def assert_valid(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    jsonschema_rs.validator_for({"allOf": [schema], "components": document["components"]}).validate(value)


def assert_documented(document: dict[str, Any], method: str, path: str, answer: httpx2.Response) -> None:
    told = resolved(document, document["paths"][path][method]["responses"][str(answer.status_code)])
    for name, piece in told["headers"].items():
        header = resolved(document, piece)
        assert name in answer.headers or not header["required"], f"{name} is missing from {dict(answer.headers)}"
        if name in answer.headers:
            value = answer.headers[name]
            assert_valid(document, header["schema"], int(value) if header["schema"]["type"] == "integer" else value)
    if "content" not in told:
        assert not answer.content and "Content-Type" not in answer.headers
        return
    media_type = answer.headers["Content-Type"].partition(";")[0]
    schema = told["content"][media_type]["schema"]
    assert_valid(document, schema, answer.json() if media_type == "application/json" else answer.text)


def asked(route: Route) -> tuple[str, str]:
    return ("get" if route.body is None else "post"), route.path


@pytest.mark.parametrize(
    ("route", "fault"),
    [(route, fault) for route in ROUTES for fault in FAULTS if (route, fault) != (CHAT, "cut")],  # that breaks off
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_what_the_upstream_does_is_answered_as_documented(
    gateway: Gateway, document: dict[str, Any], route: Route, fault: str
) -> None:
    answer = route.ask(gateway, f"fault:{fault}", gateway.somebody)
    assert_documented(document, *asked(route), answer)


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
@pytest.mark.parametrize("token", ["none", "forged", "without quota"])
def test_who_may_not_ask_is_refused_as_documented(
    gateway: Gateway, document: dict[str, Any], route: Route, token: str
) -> None:
    tokens: Mapping[str, Callable[[], str | None]] = {
        "none": lambda: None,
        "forged": lambda: "x.y.z",
        "without quota": lambda: gateway.sign_in("none"),
    }
    answer = route.ask(gateway, "hello", tokens[token]())
    assert answer.status_code == (429 if token == "without quota" else 401)
    assert_documented(document, *asked(route), answer)


@pytest.mark.parametrize("path", ["/token", *(route.path for route in POST_ROUTES)])
@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (400, {}, b"{"),
        (400, {}, b"{}"),
        (413, {}, b" " * 3_000_000),
        (415, {"Content-Type": "text/plain"}, b"{}"),
        (415, {"Content-Encoding": "gzip"}, b"{}"),
        (431, {"X-Long": "x" * 9000}, b"{}"),
    ],
)
def test_what_cannot_be_read_is_refused_as_documented(
    gateway: Gateway, document: dict[str, Any], path: str, status: int, headers: dict[str, str], content: bytes
) -> None:
    token = None if path == "/token" else gateway.somebody
    sent = {"Content-Type": "application/json", "X-Forwarded-For": gateway.address(), **headers}
    answer = gateway.http.post(path, access_token=token, content=content, headers=sent)
    assert answer.status_code == status
    assert_documented(document, "post", path, answer)


def test_logins_are_answered_as_documented(gateway: Gateway, document: dict[str, Any]) -> None:
    user, address = gateway.users.take("plain"), gateway.address()
    statuses = []
    for password in (user.password, user.password, *["wrong"] * 13):
        answer = gateway.exchange(user.name, password, address=address)
        statuses.append(answer.status_code)
        assert_documented(document, "post", "/token", answer)
    assert (statuses[:3], statuses[-1]) == ([201, 200, 401], 429)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs", "/v1/models", "/v1/models/{model}"])
def test_what_is_only_read_is_answered_as_documented(gateway: Gateway, document: dict[str, Any], path: str) -> None:
    for model in ("tiny", "made-up"):
        answer = gateway.http.get(path.format(model=model), access_token=gateway.somebody)
        assert answer.status_code == (404 if "{" in path and model == "made-up" else 200)
        assert_documented(document, "get", path, answer)


@pytest.mark.parametrize("fault", ["empty", "error-event"])
def test_streams_are_answered_as_documented(gateway: Gateway, document: dict[str, Any], fault: str) -> None:
    body = {"model": MODEL, "messages": messages(f"fault:{fault}"), "stream": True}
    answer = gateway.http.post(COMPLETIONS.path, json=body, access_token=gateway.somebody)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert_documented(document, "post", COMPLETIONS.path, answer)
    assert "x-ratelimit-limit-requests" in answer.headers


OTHERS: dict[str, tuple[int, dict[str, str | None], str]] = {
    "status": (418, {}, "hello"),
    "media type": (200, {"content-type": "text/html"}, "hello"),
    "missing header": (200, {"x-request-id": None}, "hello"),
    "other header": (200, {"x-request-id": "not sane"}, "hello"),
    "body": (400, {"content-type": "application/json"}, '{"statu": false, "status": false}'),
    "more in the body": (
        400,
        {"content-type": "application/json"},
        '{"statu": false, "status": false, "message": "no", "trace": ""}',
    ),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_reply_that_is_not_documented_is_seen(
    gateway: Gateway, document: dict[str, Any], other: tuple[int, dict[str, str | None], str]
) -> None:
    good = CHAT.ask(gateway, "hello", gateway.somebody)
    assert_documented(document, "post", CHAT.path, good)
    status, changes, text = other
    headers = {name: value for name, value in {**good.headers, **changes}.items() if value is not None}
    with pytest.raises((KeyError, AssertionError, jsonschema_rs.ValidationError)):
        assert_documented(document, "post", CHAT.path, httpx2.Response(status, headers=headers, text=text))


@pytest.mark.parametrize("path", ["/api", "/v1/models/{model}", "/docs"])
def test_options_are_answered_as_documented(gateway: Gateway, document: dict[str, Any], path: str) -> None:
    asked_for = path.format(model="tiny")
    request = f"OPTIONS {asked_for} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    head = exchange_bytes(gateway.base_url, request.encode()).decode().partition("\r\n\r\n")[0]
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert_documented(document, "options", path, httpx2.Response(int(status.split()[1]), headers=headers))
