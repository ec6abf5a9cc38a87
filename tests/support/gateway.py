"""The gateway as its users have it: `chatapi serve` as a process, spoken to through HTTP and the command line."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx2

from tests.support.commands import run_here
from tests.support.http import Http
from tests.support.nursery import nursery
from tests.support.processes import Process, chatapi_command, clean_environment, end, free_port
from tests.support.users import PASSWORD, User, UserPool

JWT_SECRET = "the secret of the tests, which is longer than the sixty-four bytes that HS512 asks for"
START_PATIENCE_S = 30.0
MASTER_ARGUMENTS = ("-c", "python:chatapi.gunicorn_conf")
ONE_WORKER = {"CHATAPI_WORKERS": "1"}  # for where others would only take seconds to start
SHARED_SETTINGS = {
    # Tests tell logins apart by address, so that the failures of one do not throttle the others.
    "CHATAPI_TRUSTED_PROXIES": "1",
    "CHATAPI_LOGIN_ADDRESS_FAILURES": "12",
    "CHATAPI_LOGIN_WINDOW_S": "86400",  # no test counts failures on both sides of a window's end
    # An upstream that is silent is given up soon enough to test it.
    "CHATAPI_FIRST_BYTE_TIMEOUT_S": "2",
    "CHATAPI_IDLE_TIMEOUT_S": "1",
    "CHATAPI_SYSTEM_MESSAGE": "You are what the tests talk to.",
    "CHATAPI_MODEL": "tiny",
}


class Gateway:
    """One running gateway.

    Args:
        database_url: a migrated database, as `CHATAPI_DATABASE_URL` wants it.
        upstream_url: the upstream's address with its `/v1`; None for no upstream at all.
        upstream_key: the key that the upstream is called with.
        environment: more settings, which win over these.
        arguments: more arguments of `chatapi serve`.
        start: whether to start at once; else `start()` does.
    """

    def __init__(
        self,
        database_url: str,
        *,
        upstream_url: str | None,
        upstream_key: str = "sk-of-the-tests",
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        start: bool = True,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="chatapi-gateway-"))
        self.database_url = database_url
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        upstream = {"OPENAI_BASE_URL": upstream_url, "OPENAI_API_KEY": upstream_key} if upstream_url else {}
        self.environment = {
            "CHATAPI_DATABASE_URL": database_url,
            "CHATAPI_VAR_DIR": str(self.folder / "var"),
            "CHATAPI_ENV_FILE": os.devnull,
            "CHATAPI_BIND": f"127.0.0.1:{self.port}",
            "CHATAPI_JWT_SECRET_KEY": JWT_SECRET,
            **upstream,
            **(environment or {}),
        }
        self.arguments = arguments
        self.http = Http(self.base_url)
        self.users = UserPool()
        self._process: Process | None = None
        self._access_tokens: dict[str, str] = {}
        self._somebody: User | None = None
        self._addresses = itertools.count()
        if start:
            self.start()

    by_command = False
    """Whether it is started by `chatapi serve` also where no argument is given."""
    from_nursery = True
    """Whether it may be born in the nursery; else it starts as a program of its own."""

    @property
    def log_path(self) -> Path:
        """The file that has what the gateway wrote to stdout and stderr."""
        return self.folder / "gateway.log"

    @property
    def pid(self) -> int:
        """The process id of `chatapi serve`, which is gunicorn's master."""
        assert self._process is not None, "the gateway was not started"
        return self._process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start `chatapi serve`, and wait until `/readyz` says yes.

        Raises:
            RuntimeError: with the log, where it ends or is not ready in time.
        """
        self._process = self._begin(clean_environment(self.environment))
        if wait:
            self._await_ready()

    def _begin(self, environment: Mapping[str, str]) -> Process:
        """`chatapi serve`; or, which saves most of two seconds, what that becomes when it has found nothing wrong."""
        by_command = self.by_command or bool(self.arguments)
        if not by_command and self.from_nursery and "PYTHONPATH" not in self.environment:
            return nursery().bear(MASTER_ARGUMENTS, environment, self.folder, self.log_path)
        master = [sys.executable, "-m", "chatapi.gunicorn_master", *MASTER_ARGUMENTS]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [*chatapi_command(), "serve", *self.arguments] if by_command else master,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_PATIENCE_S
        said = "nothing"
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                answer = self.http.get("/readyz")
                if answer.is_success:
                    return
                said = f"{answer.status_code} {answer.text}"
            except httpx2.TransportError as error:
                said = repr(error)
            time.sleep(0.05)
        self.stop(patience_s=1.0)
        raise RuntimeError(f"the gateway is not ready; /readyz: {said}; its log:\n{self.log()[-5000:]}")

    def stop(self, *, patience_s: float = 10.0) -> int:
        """Hang up, SIGTERM, then SIGKILL where that was not enough; the exit code. It can be started again."""
        self.http.close()
        code = end(self._process, patience_s=patience_s) if self._process else 0
        self._process = None
        return code

    def close(self) -> None:
        """End it at once, and delete what it wrote. How it ends by itself is tested where it is stopped."""
        self.stop(patience_s=0.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a `chatapi` command in this installation, whatever its exit code; in this process, to be quick."""
        return run_here(arguments, {**self.environment, **(environment or {})}, stdin or "")

    def run_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `chatapi` command as a user does, as a process of its own."""
        return subprocess.run(
            [*chatapi_command(), *arguments],
            env=clean_environment(self.environment),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def cli(self, *arguments: str, environment: Mapping[str, str] | None = None, stdin: str | None = None) -> str:
        """Run a `chatapi` command that must succeed; its stdout."""
        done = self.run(*arguments, environment=environment, stdin=stdin)
        assert done.returncode == 0, f"chatapi {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def import_users(self) -> None:
        """Import the prepared users that `users.take()` hands out."""
        path = self.folder / "users.csv"
        self.users.write_csv(path)
        self.cli("users", "import", str(path))

    def start_with_users(self) -> None:
        """Import the prepared users, then start."""
        self.import_users()
        self.start()

    def exchange(self, username: str, password: str = PASSWORD, *, address: str | None = None) -> httpx2.Response:
        """`POST /token`; `address` is put into X-Forwarded-For."""
        headers = {"X-Forwarded-For": address} if address else {}
        return self.http.post("/token", json={"u": username, "p": password}, headers=headers)

    def token(self, user: User) -> str:
        """The user's JWT, exchanged once and remembered."""
        if user.name not in self._access_tokens:
            answer = self.exchange(user.name, user.password)
            assert answer.status_code in (200, 201), answer.text
            self._access_tokens[user.name] = answer.json()["message"]["token"]
        return self._access_tokens[user.name]

    def sign_in(self, kind: str = "many") -> str:
        """The JWT of a prepared user that nobody had before."""
        return self.token(self.users.take(kind))

    @property
    def somebody(self) -> str:
        """The JWT of a user with a generous quota that tests share, which therefore must not be revoked."""
        if self._somebody is None:
            self._somebody = self.users.take("many")
        return self.token(self._somebody)

    def address(self) -> str:
        """An address for X-Forwarded-For that nobody had before."""
        number = next(self._addresses)
        return f"198.51.{number // 250}.{number % 250 + 1}"

    def usage(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """The rows of `chatapi usage --json`, of one tenant where one is given."""
        rows: list[dict[str, Any]] = json.loads(self.cli("usage", "--json"))
        return [row for row in rows if tenant in (None, row["tenant"])]

    def log(self) -> str:
        """Everything that the gateway has written so far."""
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        """The log's lines that are JSON objects."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]


class MakeGateway(Protocol):
    """`make_gateway(database_url, upstream_url=…, environment={…}, arguments=(…), start=…)`."""

    def __call__(
        self,
        database_url: str,
        *,
        upstream_url: str | None = ...,
        environment: Mapping[str, str] | None = ...,
        arguments: tuple[str, ...] = ...,
        start: bool = ...,
    ) -> Gateway:
        """Make it; it is stopped when the test ends."""
