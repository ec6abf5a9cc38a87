"""A denial writes nothing, and is explained again by its id, which is the decision itself, signed."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from tests.support.gateway import Gateway
from tests.support.me import Reader
from tests.support.routes import ROUTES, Route, name_of
from tests.support.users import User


@pytest.fixture
def denied(gateway: Gateway, user: User, token: str) -> dict[str, Any]:
    """What a 429 says of a limit of no requests."""
    gateway.cli("limits", "set", "0", "--user", user.name)
    answer = gateway.http.post(
        "/v1/chat/completions",
        json={"model": "tiny", "messages": [{"role": "user", "content": "x"}]},
        access_token=token,
    )
    assert answer.status_code == 429
    told: dict[str, Any] = answer.json()["error"]["chatapi"]
    assert answer.headers["x-chatapi-denial"] == told["id"]
    return told | {"message": answer.json()["error"]["message"]}


def test_its_user_and_operators_get_it_explained(
    gateway: Gateway, token: str, read: Reader, denied: dict[str, Any]
) -> None:
    answer = gateway.http.get(f"/v1/me/calls/{denied['id']}", access_token=token)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    schema = {"$ref": "#/components/schemas/ExplainedDenial", "components": read.components}
    jsonschema_rs.validator_for(schema).validate(told)
    message = denied.pop("message")
    assert told == denied | {"object": "denial", "denied_at": told["denied_at"], "sentences": [message]}
    assert gateway.cli("explain", denied["id"]) == f"{message}\n"
    assert json.loads(gateway.cli("explain", denied["id"], "--json")) == told


def test_it_stays_what_it_was_when_the_limit_changes(
    gateway: Gateway, user: User, token: str, denied: dict[str, Any]
) -> None:
    gateway.cli("limits", "set", "50", "--user", user.name)
    told = gateway.http.get(f"/v1/me/calls/{denied['id']}", access_token=token).json()
    assert told["limit"]["value"] == 0


def test_nobody_else_is_told_and_none_can_be_made_up(gateway: Gateway, token: str, denied: dict[str, Any]) -> None:
    identity = denied["id"]
    assert gateway.http.get(f"/v1/me/calls/{identity}", access_token=gateway.somebody).status_code == 404
    last = "A" if identity[40] != "A" else "B"
    for made_up in (
        identity[:40] + last + identity[41:],
        identity[:-8],
        "denial_",
        "denial_%00",
        "denial_" + "x" * 5000,
    ):
        answer = gateway.http.get(f"/v1/me/calls/{made_up}", access_token=token)
        assert answer.status_code == 404, made_up
    assert gateway.run("explain", identity[:-8]).returncode == 1
    assert gateway.http.get(f"/v1/me/calls/{identity}").status_code == 401


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_every_endpoint_gives_the_id_in_a_header(gateway: Gateway, user: User, token: str, route: Route) -> None:
    gateway.cli("limits", "set", "0", "--user", user.name)
    answer = route.ask(gateway, "hello", token)
    assert answer.status_code == 429
    told = gateway.http.get(f"/v1/me/calls/{answer.headers['x-chatapi-denial']}", access_token=token)
    assert told.json()["kind"] == "used_up"


def test_an_access_token_that_is_not_in_force_is_told_nothing(
    gateway: Gateway, user: User, token: str, denied: dict[str, Any]
) -> None:
    gateway.cli("users", "disable", user.name)
    assert gateway.http.get(f"/v1/me/calls/{denied['id']}", access_token=token).status_code == 401
