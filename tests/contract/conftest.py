"""A user of the module's gateway for each test, alone in its tenant, and what it asks about itself."""

from __future__ import annotations

import pytest

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
