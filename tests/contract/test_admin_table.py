"""Every route × every role × the own and a foreign tenant, as one table that is made from what the routes declare."""

from __future__ import annotations

import csv
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from chatapi.domain.actors import RANK
from chatapi.domain.principals import Role
from chatapi.endpoint import admin
from chatapi.endpoint.dialects import PROBLEM_JSON
from chatapi.endpoint.openapi.examples import EXAMPLES, PARTS, example_of
from chatapi.endpoint.resources import Operation, Resources
from tests.support.gateway import Gateway
from tests.support.users import CHEAP_HASH, COLUMNS, PASSWORD

OPERATIONS = [
    each for blueprint in admin.BLUEPRINTS if isinstance(blueprint, Resources) for each in blueprint.operations
]
OWN, FOREIGN = "alpha", "beta"
PEOPLE = {  # username: tenant, role
    "root": ("headquarters", Role.OPERATOR),
    **{f"{tenant}-admin": (f"{tenant}-tenant", Role.ADMIN) for tenant in (OWN, FOREIGN)},
    **{f"{tenant}-user": (f"{tenant}-tenant", Role.USER) for tenant in (OWN, FOREIGN)},
    **{f"{tenant}-victim": (f"{tenant}-tenant", Role.USER) for tenant in (OWN, FOREIGN)},
}
WHO = {Role.USER: f"{OWN}-user", Role.ADMIN: f"{OWN}-admin", Role.OPERATOR: "root"}
NOBODYS = {"tenant_id", "id", "user_id", "role", "status", "password_hash", "created_at", "unknown"}


@dataclass(slots=True)
class World:
    """A gateway, and who is who in it."""

    gateway: Gateway
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)  # of tenants and users, by name

    def ask(self, operation: Operation, path: str, who: str | None, body: object = None) -> httpx2.Response:
        headers = {} if who is None else {"Authorization": f"Bearer {self.tokens[who]}"}
        if operation.body_media is not None:
            headers["Content-Type"] = operation.body_media
            return self.gateway.http.request(
                operation.method, path, headers=headers, content=EXAMPLES[operation.body_media].encode()
            )
        if operation.body is not None:
            body = example_of(operation.body) if body is None else body
            return self.gateway.http.request(operation.method, path, headers=headers, json=body)
        return self.gateway.http.request(operation.method, path, headers=headers)

    def get(self, path: str, who: str = "root") -> Any:
        answer = self.gateway.http.get(path, headers={"Authorization": f"Bearer {self.tokens[who]}"})
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def post(self, path: str, body: object, who: str = "root") -> Any:
        answer = self.gateway.http.post(path, headers={"Authorization": f"Bearer {self.tokens[who]}"}, json=body)
        assert answer.status_code == 201, (path, answer.text)
        return answer.json()

    def path(
        self, operation: Operation, tenant: str, user: str | None = None, others: Mapping[str, str] | None = None
    ) -> str:
        """The path of an operation, about a tenant and its victim; other ids are nobody's, or `others`."""
        names = {"tenant_id": self.ids[f"{tenant}-tenant"], "user_id": self.ids[user or f"{tenant}-victim"]}
        names |= others or {}
        return re.sub(r"\{(\w+)\}", lambda part: names.get(part[1]) or self.other(part[1]), operation.path)

    @staticmethod
    def other(name: str) -> str:
        return str(uuid.uuid4()) if name.endswith("_id") else PARTS.get(name, name)


@pytest.fixture(scope="module")
def world(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> World:
    path = tmp_path_factory.mktemp("people") / "people.csv"
    write_people(path)
    gateway.cli("users", "import", str(path))
    made = World(gateway)
    for name in PEOPLE:
        answer = gateway.exchange(name, PASSWORD)
        assert answer.status_code == 201, answer.text
        made.tokens[name] = answer.json()["message"]["token"]
    for name in {tenant for tenant, _ in PEOPLE.values()}:
        (tenant,) = made.get(f"/admin/tenants?name={name}")["data"]
        made.ids[name] = tenant["id"]
        for user in made.get(f"/admin/tenants/{tenant['id']}/users?limit=100")["data"]:
            made.ids[user["username"]] = user["id"]
    return made


def write_people(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, (tenant, role) in PEOPLE.items():
            writer.writerow([name, "", tenant, role.value, "100", "", CHEAP_HASH])


def is_below(operation: Operation, role: Role) -> bool:
    return RANK[role] < RANK[operation.needs]


def test_there_is_a_table() -> None:
    assert len(OPERATIONS) > 40
    assert {operation.needs for operation in OPERATIONS} == set(Role)
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


def test_without_an_access_token_nothing_is_served(world: World) -> None:
    for operation in OPERATIONS:
        assert world.ask(operation, world.path(operation, OWN), None).status_code == 401, operation


def test_a_role_that_is_too_low_is_refused_whatever_the_path_names(world: World) -> None:
    tried = 0
    for operation in OPERATIONS:
        for role, who in WHO.items():
            for tenant in (OWN, FOREIGN):
                if is_below(operation, role):
                    answer = world.ask(operation, world.path(operation, tenant), who)
                    assert answer.status_code == 403, (operation.name, role, tenant, answer.text)
                    assert answer.headers["Content-Type"] == PROBLEM_JSON
                    tried += 1
    assert tried > 50


def test_an_access_token_that_was_made_by_name_administers_nothing(world: World) -> None:
    world.tokens["program"] = world.post("/v1/me/access_tokens", {"name": "program"})["access_token"]
    for operation in OPERATIONS:
        answer = world.ask(operation, world.path(operation, OWN), "program")
        if operation.needs is not Role.USER:
            assert (answer.status_code, "made by name" in answer.text) == (403, True), (operation.name, answer.text)
            assert operation.path.startswith("/admin/"), operation.name
        else:
            assert operation.path.startswith("/v1/me/"), operation.name


def test_another_tenants_things_read_like_things_that_are_not_there(world: World) -> None:
    """Status and body are those of a tenant that does not exist, so that nobody learns which tenants do."""
    tried = 0
    for operation in OPERATIONS:
        if "{tenant_id}" in operation.path and not is_below(operation, Role.ADMIN):
            foreign = world.ask(operation, world.path(operation, FOREIGN), WHO[Role.ADMIN])
            nowhere = re.sub(r"/tenants/[^/]+", f"/tenants/{uuid.uuid4()}", world.path(operation, FOREIGN))
            missing = world.ask(operation, nowhere, WHO[Role.ADMIN])
            assert foreign.status_code == 404, (operation.name, foreign.text)
            assert (foreign.status_code, foreign.content) == (missing.status_code, missing.content), operation.name
            tried += 1
    assert tried > 20


def test_another_tenants_user_is_not_found_in_the_own_tenant(world: World) -> None:
    for operation in OPERATIONS:
        if "{tenant_id}" in operation.path and "{user_id}" in operation.path:
            path = world.path(operation, OWN, f"{FOREIGN}-victim")
            for role in (Role.ADMIN, Role.OPERATOR):
                answer = world.ask(operation, path, WHO[role])
                expected = 403 if is_below(operation, role) else 404
                assert answer.status_code == expected, (operation.name, role, answer.text)


def test_another_tenants_objects_are_not_found_in_the_own_tenant(world: World) -> None:
    """Neither shown, nor changed, nor deleted by their ids, whoever asks; and each is there afterwards."""
    tenant, user = world.ids[f"{FOREIGN}-tenant"], world.ids[f"{FOREIGN}-victim"]
    lists = {
        "access_token_id": f"/admin/tenants/{tenant}/users/{user}/access_tokens",
        "webhook_id": f"/admin/tenants/{tenant}/webhooks",
        "grant_id": f"/admin/tenants/{tenant}/grants",
    }
    day = {"scope": "user", "user_id": user, "metric": "requests", "window": "day", "value": 5}
    bodies = {"access_token_id": {"name": "program"}, "webhook_id": {"url": "https://example.org/"}, "grant_id": day}
    ids = {name: world.post(path, bodies[name])["id"] for name, path in lists.items()}
    before = {name: world.get(path)["data"] for name, path in lists.items()}
    tried = set()
    for operation in OPERATIONS:
        named = ids.keys() & set(operation.parts)
        if named and "{tenant_id}" in operation.path:
            path = world.path(operation, OWN, others=ids)
            for role in (Role.ADMIN, Role.OPERATOR):
                answer = world.ask(operation, path, WHO[role])
                assert answer.status_code in ({404} if operation.method != "PATCH" else {400, 404}), (
                    operation,
                    answer.text,
                )
            tried |= named
    assert tried == ids.keys()
    assert {name: world.get(path)["data"] for name, path in lists.items()} == before


def test_whoever_may_ask_is_answered_and_learns_nothing_of_other_tenants(world: World) -> None:
    """With bodies that are examples only: a 4xx that says why, never a fault, and never the other tenant's names."""
    secrets = [name for name in world.ids if name.startswith(FOREIGN)]
    secrets += [found for name, found in world.ids.items() if name.startswith(FOREIGN)]
    for operation in sorted(OPERATIONS, key=lambda each: (each.method != "GET", each.method == "DELETE")):
        for role, who in WHO.items():
            if is_below(operation, role) or (operation.path.startswith("/v1/me") and operation.method != "GET"):
                continue
            answer = world.ask(operation, world.path(operation, OWN), who)
            assert answer.status_code < 500 and answer.status_code != 401, (operation.name, role, answer.text)
            if operation.method == "GET" and answer.status_code == 200 and operation.media:
                assert answer.headers["Content-Type"].split(";")[0] in operation.media, operation.name
            if role is not Role.OPERATOR:
                told = answer.text
                assert not [secret for secret in secrets if secret in told], (operation.name, role)


def test_fields_that_no_model_names_are_refused_by_name(world: World) -> None:
    """Nobody gives themselves a role, a tenant or an id by sending one more field."""
    tried = 0
    for operation in OPERATIONS:
        if operation.body is None:
            continue
        example = example_of(operation.body)
        assert isinstance(example, dict)
        extra = dict.fromkeys(NOBODYS - set(operation.body.model_fields), "operator")
        answer = world.ask(operation, world.path(operation, OWN), "root", example | extra)
        if operation.path.startswith("/admin"):
            assert answer.status_code == 400, (operation.name, answer.text)
            named = {each["field"] for each in answer.json()["errors"]}
            assert extra.keys() <= named, (operation.name, named)
        else:
            assert answer.status_code == 400, (operation.name, answer.text)
            assert all(f"{name}: there is no such field" in answer.json()["error"]["message"] for name in extra)
        tried += 1
    assert tried > 10


def test_parameters_that_no_model_names_are_refused(world: World) -> None:
    for operation in OPERATIONS:
        answer = world.ask(operation, world.path(operation, OWN) + "?unknown=1", "root")
        assert answer.status_code == 400, (operation.name, answer.text)
