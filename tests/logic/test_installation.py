"""The installation: machines that share a database share the secret that signs access tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from chatapi.errors import ConfigurationError
from chatapi.logic import installation, tokens
from chatapi.logic.runtime import Runtime
from chatapi.storage.tables import installation as table
from tests.support import administration
from tests.support.runtimes import SECRET, at_once, make_runtime

OTHER_SECRET = "another secret of the tests, longer than thirty-two bytes"

Process = Callable[[str], Runtime]


@pytest.fixture
def process(database_url: str) -> Iterator[Process]:
    """A process of the installation that is configured with a secret."""
    made: list[Runtime] = []

    def make(secret: str) -> Runtime:
        made.append(make_runtime(database_url, jwt_secret_key=secret))
        return made[-1]

    yield make
    for runtime in made:
        runtime.database.close()


def test_of_processes_that_start_at_once_one_makes_the_installation(process: Process) -> None:
    runtime = process(SECRET)
    ids = at_once(8, lambda _: installation.check_installation(runtime))
    assert len(set(map(str, ids))) == 1
    assert installation.check_installation(process(SECRET)) == ids[0]


def test_another_secret_is_refused_and_rotation_explained(process: Process) -> None:
    installation.check_installation(process(SECRET))
    with pytest.raises(ConfigurationError, match=r"must share CHATAPI_JWT_SECRET_KEY(?s:.*)chatapi db rotate-secret"):
        installation.check_installation(process(OTHER_SECRET))


def test_rotation_accepts_the_new_secret_and_ends_every_access_token(process: Process) -> None:
    before = process(SECRET)
    installed = installation.check_installation(before)
    for name in ("demo", "other"):
        administration.add_user(before, name, "secret", tenant=name)
        tokens.exchange(before, name, "secret", "198.51.100.1")
    after = process(OTHER_SECRET)
    assert installation.rotate_secret(after) == 2
    assert installation.check_installation(after) == installed
    with pytest.raises(ConfigurationError):
        installation.check_installation(before)
    assert tokens.exchange(after, "demo", "secret", "198.51.100.1").created


def test_the_secret_itself_is_not_kept(process: Process) -> None:
    runtime = process(SECRET)
    installation.check_installation(runtime)
    with runtime.database.read() as connection:
        assert SECRET not in str(connection.execute(select(table)).all())
