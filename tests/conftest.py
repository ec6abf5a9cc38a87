"""The fixtures that every test may ask for. What starts a server is shared by the session; what holds data is not.

sqlite_url, postgres_url, database_url     a migrated database of the test's own; database_url is both in turn
fresh_database                             the same for as many as one likes: `fresh_database("sqlite")`
faults, llama_url                          an upstream that fails on demand; a real one
gateway, llama_gateway                     a running gateway on each database in turn, before one of these two
make_gateway                               a gateway of the test's own, with its own settings
make_lasting_gateway, lasting_database     the same for fixtures that all tests of a module share, as a gateway takes
lasting_database_url                       seconds to start; each test takes a user, and so a tenant, of its own
emptied                                    a database of the module: `emptied.world(now)` is a new installation on it
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hypothesis
import pytest

from chatapi.upstream.demo import DemoServer
from tests.concurrency.world import LastingDatabase
from tests.support.faults import FaultyUpstream
from tests.support.gateway import SHARED_SETTINGS, Gateway, MakeGateway
from tests.support.llama import API_KEY as LLAMA_KEY
from tests.support.llama import Llama
from tests.support.postgres import DATABASES, FreshDatabase, Postgres, SQLiteTemplate
from tests.support.processes import quick_folder
from tests.support.users import UserPool

FAR_FROM_MIDNIGHT_S = 15
EARLY_S = 45  # of a minute: what a test does takes less than the rest
SHARED_BY = 40  # times as many tests need users of a shared gateway as of any other

# They begin first, so that nobody waits for the last of them alone (with pytest-xdist's --no-loadscope-reorder).
LONGEST = (
    "upstream/test_gevent.py",
    "concurrency/test_state_machine.py",
    "chaos/test_reload.py",
    "endpoint/test_chat_command.py",
    "fuzz/test_fuzz.py",
    "contract/test_admin_user_files.py",
    "chaos/test_outage.py",
    "concurrency/test_changing_limits.py",
    "contract/test_walkthrough.py",
    "contract/test_admin_access_tokens.py",
    "chaos/test_killed_worker.py",
    "contract/test_idempotency.py",
    "chaos/test_restarts.py",
    "contract/test_configuration.py",
)

# The machines are shared, so no example is judged by its time; CI tries the same examples each time.
hypothesis.settings.register_profile("tests", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, the others in their order."""
    places = {Path(__file__).parent / path: place for place, path in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """What was collected lives on. Looking for garbage in it took up to two seconds, and no transaction may idle."""
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's PostgreSQL server; tests that stop it start one of their own."""
    server = Postgres()
    yield server
    server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SQLiteTemplate:
    """The migrated SQLite file that others are copied from."""
    return SQLiteTemplate(tmp_path_factory.mktemp("sqlite-template"))


class _Databases:
    """Migrated databases, dropped together. PostgreSQL is only started where one is asked for."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._drops = ExitStack()

    def __call__(self, kind: str) -> str:
        if kind == "sqlite":
            template: SQLiteTemplate = self._request.getfixturevalue("sqlite_template")
            folder = tempfile.mkdtemp(prefix="chatapi-sqlite-", dir=quick_folder())
            self._drops.callback(shutil.rmtree, folder, ignore_errors=True)
            return template.copy_to(Path(folder) / "chatapi.sqlite3")
        server: Postgres = self._request.getfixturevalue("postgres")
        name = server.create()
        self._drops.callback(server.drop, name)
        return server.url(name)

    def close(self) -> None:
        self._drops.close()


@pytest.fixture
def fresh_database(request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """Make migrated databases by kind, `"sqlite"` or `"postgresql"`; they go with the test."""
    databases = _Databases(request)
    yield databases
    databases.close()


@pytest.fixture
def sqlite_url(fresh_database: FreshDatabase) -> str:
    """A migrated SQLite file."""
    return fresh_database("sqlite")


@pytest.fixture
def postgres_url(fresh_database: FreshDatabase) -> str:
    """A migrated PostgreSQL database."""
    return fresh_database("postgresql")


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, fresh_database: FreshDatabase) -> str:
    """A migrated database: SQLite, then PostgreSQL."""
    return fresh_database(request.param)


@pytest.fixture(scope="module")
def lasting_database(request: pytest.FixtureRequest) -> Iterator[FreshDatabase]:
    """As `fresh_database`; what it makes goes with the module."""
    databases = _Databases(request)
    yield databases
    databases.close()


@pytest.fixture(scope="module", params=DATABASES)
def lasting_database_url(request: pytest.FixtureRequest, lasting_database: FreshDatabase) -> str:
    """As `database_url`, shared by the tests of a module."""
    return lasting_database(request.param)


@pytest.fixture(scope="module")
def emptied(lasting_database_url: str) -> Iterator[LastingDatabase]:
    """A database of the module, for installations that are made anew for each test."""
    database = LastingDatabase(lasting_database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def faults() -> Iterator[FaultyUpstream]:
    """The upstream that fails on demand."""
    upstream = FaultyUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="session")
def demo_url() -> Iterator[str]:
    """The demo upstream, which answers every endpoint and never fails."""
    server = DemoServer("127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.base_url
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def llama_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama.cpp's server, with its /v1."""
    server = Llama(tmp_path_factory.mktemp("llama"))
    yield server.url
    server.close()


@pytest.fixture(scope="session")
def sqlite_gateway(
    sqlite_template: SQLiteTemplate, tmp_path_factory: pytest.TempPathFactory, faults: FaultyUpstream
) -> Iterator[Gateway]:
    """The shared gateway on SQLite."""
    url = sqlite_template.copy_to(tmp_path_factory.mktemp("sqlite") / "chatapi.sqlite3")
    shared = Gateway(url, upstream_url=faults.url, environment=SHARED_SETTINGS, start=False)
    shared.by_command = True
    yield from _shared(shared)


@pytest.fixture(scope="session")
def postgresql_gateway(postgres: Postgres, faults: FaultyUpstream) -> Iterator[Gateway]:
    """The shared gateway on PostgreSQL."""
    url = postgres.url(postgres.create())
    yield from _shared(Gateway(url, upstream_url=faults.url, environment=SHARED_SETTINGS, start=False))


@pytest.fixture(scope="session", params=DATABASES)
def gateway(request: pytest.FixtureRequest) -> Gateway:
    """A shared gateway with prepared users, before the upstream that fails on demand.

    Both run until the session ends: pytest ends what has parameters whenever the parameter changes, which is twice in
    each file, and a gateway takes seconds to start.
    """
    shared: Gateway = request.getfixturevalue(f"{request.param}_gateway")
    return shared


@pytest.fixture(scope="session", params=DATABASES)
def llama_gateway(request: pytest.FixtureRequest, llama_url: str) -> Iterator[Gateway]:
    """A shared gateway with prepared users, before the real language model."""
    databases = _Databases(request)
    url = databases(request.param)
    shared = Gateway(url, upstream_url=llama_url, upstream_key=LLAMA_KEY, environment=SHARED_SETTINGS, start=False)
    yield from _shared(shared)
    databases.close()


def _shared(gateway: Gateway) -> Iterator[Gateway]:
    gateway.users = UserPool(SHARED_BY)
    try:
        gateway.start_with_users()
        yield gateway
    finally:
        gateway.close()


@pytest.fixture
def make_gateway(faults: FaultyUpstream) -> Iterator[MakeGateway]:
    """Make gateways with settings of their own; they stop with the test. `upstream_url` is `faults` unless given."""
    with _gateways(faults) as make:
        yield make


@pytest.fixture(scope="module")
def make_lasting_gateway(faults: FaultyUpstream) -> Iterator[MakeGateway]:
    """As `make_gateway`, for fixtures whose gateways are shared by the tests of a module."""
    with _gateways(faults) as make:
        yield make


@contextmanager
def _gateways(faults: FaultyUpstream) -> Iterator[MakeGateway]:
    with ExitStack() as stack:

        def make(
            database_url: str,
            *,
            upstream_url: str | None = faults.url,
            environment: Mapping[str, str] | None = None,
            arguments: tuple[str, ...] = (),
            start: bool = True,
        ) -> Gateway:
            made = Gateway(
                database_url, upstream_url=upstream_url, environment=environment, arguments=arguments, start=False
            )
            stack.callback(made.close)
            if start:
                made.start()
            return made

        yield make


@pytest.fixture
def marker(request: pytest.FixtureRequest) -> str:
    """A text that no other test sends, to find one's own requests by."""
    return f"{re.sub(r'[^a-z]+', '-', request.node.name)}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def far_from_midnight() -> None:
    """Quotas of a day are not counted across two days: wait for the new one (UTC) where it is about to begin."""
    left_s = 86400 - time.time() % 86400
    if left_s < FAR_FROM_MIDNIGHT_S:
        time.sleep(left_s + 0.5)


@pytest.fixture
def early_in_a_minute() -> None:
    """What is counted per minute is not counted across two of them: wait for the new one where it is about to begin."""
    second = time.time() % 60
    if second > EARLY_S:
        time.sleep(60 - second + 0.2)


@pytest.fixture
def users_csv(tmp_path: Path) -> Path:
    """Where a test may write its CSV."""
    return tmp_path / "users.csv"
