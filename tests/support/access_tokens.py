"""Named access tokens over HTTP: made, listed and revoked by oneself or by an administrator, held against OpenAPI."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httpx2
import jsonschema_rs

from tests.support.gateway import Gateway
from tests.support.limits import ask
from tests.support.me import claims_of
from tests.support.routes import NO_SUCH_TOKEN, refused_error
from tests.support.users import PASSWORD, User

MINE = "/v1/me/access_tokens"


def add_person(gateway: Gateway, name: str, tenant: str, role: str = "user") -> User:
    """Another user of a tenant."""
    gateway.cli("users", "add", name, "--tenant", tenant, "--role", role, "--password-stdin", stdin=f"{PASSWORD}\n")
    return User(name, tenant)


@dataclass
class Caller:
    """Asks with one access token."""

    gateway: Gateway
    token: str
    document: dict[str, Any] = field(default_factory=dict)

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """One request."""
        return self.gateway.http.request(method, path, access_token=self.token, **more)

    def __call__(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """What is answered with this status; it is as the document says, and a refusal is in the route's shape."""
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, answer.text
        if status >= 400 and path.startswith("/v1"):
            refused_error(answer)
        if not answer.content:
            return None
        media = answer.headers["content-type"].split(";")[0]
        schema = self._schema(method, path, status, media)
        components = self.document["components"]
        jsonschema_rs.validator_for({"allOf": [schema], "components": components}).validate(answer.json())
        return answer.json()

    def add(self, name: str = "ci", path: str = MINE, **more: Any) -> dict[str, Any]:
        """Make a named access token: the whole reply."""
        made: dict[str, Any] = self("POST", path, 201, json={"name": name, **more})
        return made

    def listed(self, path: str = MINE, **query: str) -> list[dict[str, Any]]:
        """A page of access tokens."""
        found: list[dict[str, Any]] = self("GET", path, params=query)["data"]
        return found

    def _schema(self, method: str, path: str, status: int, media: str) -> Any:
        if not self.document:
            self.document = self.gateway.http.get("/openapi.json").json()
        template = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{}", path)
        (route,) = (known for known in self.document["paths"] if re.sub(r"\{\w+\}", "{}", known) == template)
        reply = self.document["paths"][route][method.lower()]["responses"][str(status)]
        if "$ref" in reply:
            reply = self.document["components"]["responses"][reply["$ref"].rsplit("/", 1)[-1]]
        return reply["content"][media]["schema"]


def path_of(token: str) -> str:
    """Where administrators find the access tokens of this one's user."""
    claims = claims_of(token)
    return f"/admin/tenants/{claims.tenant_id}/users/{claims.user_id}/access_tokens"


def is_served(gateway: Gateway, token: str) -> bool:
    """Whether a call with this JWT is answered; where it is not, it is said that it is not in force."""
    answer = ask(gateway, token)
    if answer.status_code == 200:
        return True
    assert answer.status_code == 401
    assert refused_error(answer) == NO_SUCH_TOKEN
    return False


def trail_of(gateway: Gateway, operator: Caller, subject: str) -> list[dict[str, Any]]:
    """What the trail says of it, newest first."""
    answer = operator.ask("GET", "/admin/trail", params={"subject": subject})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found
