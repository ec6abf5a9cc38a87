"""A user of the module's gateway for each test, alone in its tenant, and what it asks about itself."""

from __future__ import annotations

import pytest

from tests.support.access_tokens import Caller, add_person
from tests.support.gateway import Gateway
from tests.support.me import Reader
from tests.support.office import Office, open_office
from tests.support.users import User


@pytest.fixture
def user(gateway: Gateway) -> User:
    return gateway.users.take("many")


@pytest.fixture
def token(gateway: Gateway, user: User) -> str:
    return gateway.token(user)


@pytest.fixture
def read(gateway: Gateway, token: str) -> Reader:
    return Reader.of(gateway, token)


@pytest.fixture
def office(gateway: Gateway) -> Office:
    return open_office(gateway)


@pytest.fixture
def me(gateway: Gateway, token: str) -> Caller:
    return Caller(gateway, token)


@pytest.fixture
def admin(gateway: Gateway, user: User) -> Caller:
    """Of the user's tenant."""
    return Caller(gateway, gateway.token(add_person(gateway, f"admin-of-{user.name}", user.tenant, "admin")))


@pytest.fixture
def operator(gateway: Gateway, user: User) -> Caller:
    """Of the installation; a user of the same tenant."""
    return Caller(gateway, gateway.token(add_person(gateway, f"operator-at-{user.name}", user.tenant, "operator")))
