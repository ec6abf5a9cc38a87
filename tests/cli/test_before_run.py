"""What `make run` refuses to begin: scripts/before_run.py, which scripts/run.sh asks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.support.commands import run_here
from tests.support.postgres import FreshDatabase
from tests.support.processes import PROJECT_ROOT, clean_environment, free_port

DEMO = "envs/users.example.csv"
REAL = {"OPENAI_API_KEY": "sk-of-the-tests"}


@pytest.fixture
def settings(fresh_database: FreshDatabase) -> dict[str, str]:
    bind = f"127.0.0.1:{free_port()}"
    return {
        "CHATAPI_DATABASE_URL": fresh_database("sqlite"),
        "CHATAPI_ENV_FILE": os.devnull,
        "CHATAPI_BIND": bind,
        "CHATAPI_JWT_SECRET_KEY": "x" * 64,
    }


def run(command: list[str], settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(settings)
    return subprocess.run(
        command, env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def before(settings: dict[str, str]) -> tuple[int, str]:
    """The exit code, and what is said."""
    done = run([sys.executable, "scripts/before_run.py", DEMO], settings)
    assert not done.stdout
    return done.returncode, done.stderr


def chatapi(settings: dict[str, str], *arguments: str) -> None:
    done = run_here(arguments, settings, "")
    assert done.returncode == 0, done.stderr


def test_the_users_of_the_demonstration_are_not_served_beside_a_real_upstream(settings: dict[str, str]) -> None:
    real = settings | REAL
    code, said = before(real)
    assert code == 0
    assert "chatapi users add" in said
    chatapi(settings, "users", "import", DEMO)
    assert before(settings) == (0, "")
    code, said = before(real)
    assert code == 1
    assert "chatapi tenants disable demo" in said
    chatapi(settings, "tenants", "disable", "demo")
    assert before(real)[0] == 0
    chatapi(settings, "tenants", "enable", "demo")
    for name in ("demo", "demo2", "demo-admin"):
        chatapi(settings, "users", "disable", name)
    assert before(real) == (0, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_an_address_that_is_taken_is_refused_with_another_one(settings: dict[str, str], host: str) -> None:
    with socket.create_server(
        (host.strip("[]"), 0), family=socket.AF_INET6 if "[" in host else socket.AF_INET
    ) as server:
        port = server.getsockname()[1]
        taken = settings | {"CHATAPI_BIND": f"{host}:{port}"}
        code, said = before(taken)
        assert code == 1
        assert f"CHATAPI_BIND={host}:{port + 1} make run" in said
        assert run(["scripts/run.sh"], taken).stderr.endswith(said)
    assert before(taken) == (0, "")
