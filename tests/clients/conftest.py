"""Fixtures of `make clients`: the programs, and two gateways, one before llama.cpp's server and one before aimock.

These tests need packages that `make clients` installs; without `-m clients` they are not even collected.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.upstreams import PROGRAMS, Aimock, Recorder
from tests.support.gateway import Gateway
from tests.support.llama import API_KEY as LLAMA_KEY
from tests.support.postgres import Postgres, SQLiteTemplate
from tests.support.processes import PROJECT_ROOT, clean_environment
from tests.support.users import UserPool

PYTHON = PROJECT_ROOT / ".venv-clients" / "bin" / "python"
VOCABULARIES = PROJECT_ROOT / "chatapi" / "data" / "vocabularies"
PATIENCE_S = 120


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Nothing here is collected unless it is asked for."""
    asked = "clients" in config.getoption("markexpr", "")
    return True if collection_path.name.startswith("test_") and not asked else None


class Installation:
    """A gateway before an upstream that is recorded."""

    def __init__(self, gateway: Gateway, recorder: Recorder, model: str) -> None:
        self.gateway = gateway
        self.recorder = recorder
        self._model = model

    def run(self, program: str, *steps: str) -> dict[str, Any]:
        """Run a client's program as its user would; the results of its steps."""
        poor = self.gateway.users.take("none")
        environment = {
            "CHATAPI_BASE_URL": f"{self.gateway.base_url}/v1",
            "CHATAPI_KEY": self.gateway.sign_in("many"),
            "CHATAPI_POOR_KEY": self.gateway.token(poor),
            "CHATAPI_MODEL": self._model,
            "TIKTOKEN_CACHE_DIR": str(VOCABULARIES),
            "PYTHONPATH": str(PROGRAMS),
            "NO_PROXY": "127.0.0.1",
        }
        interpreter = node() if program.endswith(".mjs") else str(PYTHON)
        done = subprocess.run(
            [interpreter, str(PROGRAMS / program), *steps],
            env={**clean_environment({}), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        failed = {step: result["failed"] for step, result in results.items() if "failed" in result}
        assert not failed, "\n".join(f"{step}: {why}" for step, why in failed.items())
        return results


def node() -> str:
    """The path of Node, with what is needed of it installed."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not on this machine")
    if not (PROGRAMS.parent / "node_modules").is_dir():
        pytest.skip("tests/clients/node_modules is missing: make clients installs it")
    return found


@pytest.fixture(scope="session")
def aimock_gateway(postgres: Postgres) -> Iterator[Installation]:
    """On PostgreSQL, before aimock."""
    upstream = Aimock(node())
    yield from _installation(postgres.url(postgres.create()), upstream.url, "unused", "gpt-4o-mini")
    upstream.close()


@pytest.fixture(scope="session")
def recorded_llama_gateway(
    sqlite_template: SQLiteTemplate, tmp_path_factory: pytest.TempPathFactory, llama_url: str
) -> Iterator[Installation]:
    """On SQLite, before llama.cpp's server."""
    url = sqlite_template.copy_to(tmp_path_factory.mktemp("sqlite") / "chatapi.sqlite3")
    yield from _installation(url, llama_url, LLAMA_KEY, "llama-of-the-tests")


def _installation(database_url: str, upstream_url: str, key: str, model: str) -> Iterator[Installation]:
    recorder = Recorder(upstream_url)
    gateway = Gateway(database_url, upstream_url=recorder.url, upstream_key=key, start=False)
    gateway.users = UserPool(10)
    try:
        gateway.start_with_users()
        yield Installation(gateway, recorder, model)
    finally:
        gateway.close()
        recorder.close()
