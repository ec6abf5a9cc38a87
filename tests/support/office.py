"""An office: an operator of a gateway, and a tenant with its admin and a user, for what they do under `/admin`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.gateway import Gateway
from tests.support.users import CHEAP_HASH, PASSWORD, User

HEADER = "username,password_hash,tenant,role,daily_requests\n"


@dataclass
class Office:
    """Who is in it: `operator`, `admin` and `user` have access tokens; the last two are of the tenant `tenant`."""

    gateway: Gateway
    name: str
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # of the tenant, and of who is in it

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return f"{self.name}-tenant"

    @property
    def path(self) -> str:
        """What everything of the tenant is below."""
        return f"/admin/tenants/{self.ids['tenant']}"

    def username(self, who: str) -> str:
        """The username of the operator, the admin, the user, or one that nobody has."""
        return f"{self.name}-{who}"

    def ask(self, who: str | None, method: str, path: str, **more: Any) -> httpx2.Response:
        """What somebody is answered; a path that does not begin with a slash is below the tenant's."""
        where = path if path.startswith("/") else f"{self.path}/{path}"
        token = None if who is None else self.tokens[who]
        return self.gateway.http.request(method, where, access_token=token, **more)

    def get(self, who: str, path: str, **params: str) -> Any:
        """What must be answered."""
        answer = self.ask(who, "GET", path, params=params or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def do(self, who: str, method: str, path: str, expected: int = 200, /, **body: Any) -> Any:
        """What must be done, or refused so; `body` is sent as JSON."""
        answer = self.ask(who, method, path, json=body or None)
        assert answer.status_code == expected, answer.text
        return answer.json() if answer.content else None

    def add(self, who: str, *, by: str = "admin", **more: str) -> dict[str, Any]:
        """A new user with the usual password; its token comes when it `enter`s."""
        body = {"username": self.username(who), "password": PASSWORD, **more}
        made: dict[str, Any] = self.do(by, "POST", "users", 201, **body)
        self.ids[who] = made["id"]
        return made

    def enter(self, who: str, password: str = PASSWORD) -> str:
        """Log in anew."""
        answer = self.gateway.exchange(self.username(who), password)
        assert answer.status_code in (200, 201), answer.text
        self.tokens[who] = answer.json()["message"]["token"]
        return self.tokens[who]


def open_office(gateway: Gateway) -> Office:
    """A new one, whose names nobody else has."""
    office = Office(gateway, f"office-{uuid.uuid4().hex[:8]}")
    people = {"admin": office.tenant, "user": office.tenant, "operator": f"{office.name}-hq"}
    rows = [f'{office.username(who)},"{CHEAP_HASH}",{tenant},{who},1000\n' for who, tenant in people.items()]
    gateway.cli("users", "import", "-", stdin=HEADER + "".join(rows))
    for who, tenant in people.items():
        office.tokens[who] = gateway.token(User(office.username(who), tenant))
    (found,) = office.get("operator", "/admin/tenants", name=office.tenant)["data"]
    office.ids["tenant"] = found["id"]
    for user in office.get("operator", "users")["data"]:
        office.ids[user["username"].removeprefix(f"{office.name}-")] = user["id"]
    return office
