"""What users are told of themselves under `/v1/me`, read as they do and held against the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import jwt

from chatapi.domain.principals import Claims
from tests.support.gateway import Gateway
from tests.support.routes import refused_error
from tests.support.users import PASSWORD, User

ROUTES = ("/v1/me", "/v1/me/usage", "/v1/me/calls", "/v1/me/calls/{call}")
SCHEMAS = dict(zip(ROUTES, ("Me", "Usage", "Calls", "ExplainedCall"), strict=True))


@dataclass(frozen=True)
class Reader:
    """Asks for one user, and holds the answers against the document."""

    gateway: Gateway
    components: dict[str, Any]
    token: str

    @classmethod
    def of(cls, gateway: Gateway, token: str) -> Reader:
        """With the document that the gateway has."""
        return cls(gateway, gateway.http.get("/openapi.json").json()["components"], token)

    def __call__(self, route: str = "/v1/me", call: str = "", **query: str) -> dict[str, Any]:
        """What a route answers; `call` is the id in its path."""
        answer = self.gateway.http.get(route.format(call=call), params=query, access_token=self.token)
        assert answer.status_code == 200, answer.text
        schema = {"$ref": f"#/components/schemas/{SCHEMAS[route]}", "components": self.components}
        jsonschema_rs.validator_for(schema).validate(answer.json())
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, path: str, status: int, **query: str) -> dict[str, Any]:
        """The error object of a refusal."""
        answer = self.gateway.http.get(path, params=query or None, access_token=self.token)
        assert answer.status_code == status, answer.text
        refused_error(answer)
        found: dict[str, Any] = answer.json()["error"]
        return found


def claims_of(token: str) -> Claims:
    """What the JWT says."""
    signed = jwt.decode(token, options={"verify_signature": False})
    return Claims(signed["tid"], signed["sub"], signed["jti"])


def add_neighbour(gateway: Gateway, user: User, name: str) -> str:
    """The JWT of another user of the same tenant."""
    gateway.cli("users", "add", name, "--tenant", user.tenant, "--password-stdin", stdin=f"{PASSWORD}\n")
    return gateway.token(User(name, user.tenant))


def limits_of(found: dict[str, Any]) -> dict[tuple[str, str, str, str | None], dict[str, Any]]:
    """The limits of `/v1/me` by scope, metric, window and model."""
    return {(each["scope"], each["metric"], each["window"], each["model"]): each for each in found["limits"]}
