"""CONTRACT §7: what the environment and the files of `envs/` say is what the gateway does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import httpx2
import psutil  # type: ignore[import-untyped]
import pytest

from tests.support.faults import FaultyUpstream, reply_to
from tests.support.gateway import JWT_SECRET, Gateway, MakeGateway
from tests.support.here import GatewayHere
from tests.support.http import NO_TLS
from tests.support.postgres import sqlite_url as url_of_file
from tests.support.processes import PROJECT_ROOT, chatapi_command, clean_environment
from tests.support.routes import API, CHAT, answered_envelope

ANOTHER_SECRET = "another secret that is longer than thirty-two bytes, and longer than sixty-four as well"


class Prepare(Protocol):
    """`prepare(upstream_url=…, NAME="value")`."""

    def __call__(self, *, upstream_url: str | None = ..., **environment: str) -> Gateway:
        """Make it; it is stopped when the test ends."""


@pytest.fixture
def prepare(sqlite_url: str) -> Iterator[Prepare]:
    """Make a gateway on SQLite with prepared users and these settings, and start it in this process."""
    with ExitStack() as stack:

        def make(*, upstream_url: str | None = None, **environment: str) -> Gateway:
            made = GatewayHere(sqlite_url, upstream_url=upstream_url, environment=environment, start=False)
            stack.callback(made.close)
            made.start_with_users()
            return made

        yield make


class BecameGunicorn(Exception):
    """`chatapi serve` found all well."""


@pytest.fixture
def becoming(monkeypatch: pytest.MonkeyPatch) -> None:
    """`chatapi serve` in this process must not become gunicorn: it raises `BecameGunicorn` instead."""

    def execv(*_: object) -> None:
        raise BecameGunicorn

    monkeypatch.setattr(os, "execv", execv)


def refuses_to_start(done: subprocess.CompletedProcess[str]) -> str:
    """What `chatapi serve` says when it ends by itself with an error."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_without_any_upstream_it_refuses_to_start_and_says_what_to_set(
    make_gateway: MakeGateway, sqlite_url: str
) -> None:
    said = refuses_to_start(make_gateway(sqlite_url, upstream_url=None, start=False).run_process("serve"))
    assert "OPENAI_API_KEY" in said
    assert "--demo" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHATAPI_JWT_SECRET_KEY", "shorter than thirty-two bytes"), ("CHATAPI_TIMEZONE", "Mars/Olympus"),
        ("CHATAPI_DAILY_REQUESTS", "-1"), ("CHATAPI_DAILY_TOKENS", "many"), ("CHATAPI_WORKERS", "none"),
        ("CHATAPI_TRUSTED_PROXIES", "-1"), ("CHATAPI_DATABASE_URL", "no URL at all"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("becoming")
def test_a_wrong_setting_refuses_to_start_and_is_named(
    make_gateway: MakeGateway, sqlite_url: str, name: str, value: str
) -> None:
    gateway = make_gateway(sqlite_url, environment={name: value}, start=False)
    assert name in refuses_to_start(gateway.run("serve"))


@pytest.mark.usefixtures("becoming")
def test_a_database_that_was_not_migrated_refuses_to_start(make_gateway: MakeGateway, tmp_path: Path) -> None:
    gateway = make_gateway(url_of_file(tmp_path / "empty.sqlite3"), start=False)
    assert "chatapi db upgrade" in refuses_to_start(gateway.run("serve"))


@pytest.mark.usefixtures("becoming")
def test_another_secret_on_the_same_database_refuses_to_start(make_gateway: MakeGateway, database_url: str) -> None:
    first = make_gateway(database_url, start=False)
    assert "BecameGunicorn" in first.run("serve").stderr
    another = make_gateway(database_url, environment={"CHATAPI_JWT_SECRET_KEY": ANOTHER_SECRET}, start=False)
    assert "secret" in refuses_to_start(another.run("serve")).lower()
    assert "BecameGunicorn" in first.run("serve").stderr


@pytest.fixture(scope="module")
def bare(make_lasting_gateway: MakeGateway) -> Gateway:
    """A gateway that nobody told where its database is, nor its secret."""
    gateway = make_lasting_gateway("", environment={"CHATAPI_JWT_SECRET_KEY": ""}, start=False)
    gateway.cli("db", "upgrade")
    gateway.start()
    return gateway


def test_a_secret_is_made_and_kept_for_its_owner_only(bare: Gateway) -> None:
    kept = [path for path in (bare.folder / "var").rglob("*") if path.is_file() and "secret" in path.name]
    assert len(kept) == 1
    assert stat.S_IMODE(kept[0].stat().st_mode) == 0o600
    assert len(kept[0].read_bytes()) >= 32


def test_the_database_is_a_sqlite_file_in_var_by_default(bare: Gateway) -> None:
    kinds = [path.read_bytes()[:15] for path in (bare.folder / "var").rglob("*") if path.is_file()]
    assert b"SQLite format 3" in kinds


def test_serve_ends_soon_though_a_client_keeps_its_idle_connection_open(bare: Gateway) -> None:
    with httpx2.Client(base_url=bare.base_url, trust_env=False, verify=NO_TLS) as idle:
        assert idle.get("/healthz").status_code == 200
        started = time.monotonic()
        assert bare.stop(patience_s=20) == 0
        assert time.monotonic() - started < 10


def test_postgresql_works_by_both_names_and_by_unix_socket_with_as_many_workers_as_are_set(
    make_gateway: MakeGateway, postgres_url: str
) -> None:
    assert postgres_url.startswith("postgresql://")
    assert "host=/" in postgres_url
    by_its_other_name = postgres_url.replace("postgresql://", "postgresql+psycopg://")
    gateway = make_gateway(by_its_other_name, environment={"CHATAPI_WORKERS": "3"}, start=False)
    gateway.from_nursery = False
    gateway.start()
    assert gateway.http.get("/readyz").status_code == 200
    master = psutil.Process(gateway.pid)
    assert "gunicorn" in " ".join(master.cmdline())
    assert len(master.children()) == 3
    assert gateway.stop() == 0
    assert not psutil.pid_exists(master.pid)


def test_the_settings_of_calls_are_obeyed(prepare: Prepare, faults: FaultyUpstream, marker: str) -> None:
    gateway = prepare(
        upstream_url=faults.url,
        OPENAI_API_KEY="sk-my-own",
        OPENAI_ORG_ID="org-mine",
        OPENAI_PROJECT_ID="proj-mine",
        CHATAPI_MODEL="my-model",
        CHATAPI_SYSTEM_MESSAGE="Mine.",
        CHATAPI_DAILY_REQUESTS="2",
    )
    token = gateway.sign_in("plain")
    assert API.ask(gateway, marker, token).status_code == 200
    assert CHAT.ask(gateway, marker, token).status_code == 200
    assert API.ask(gateway, marker, token).status_code == 429
    by_api, by_chat = faults.about(marker)
    assert by_api.body["model"] == by_chat.body["model"] == "my-model"
    assert by_chat.body["messages"][0] == {"role": "system", "content": "Mine."}
    assert by_api.headers["authorization"] == "Bearer sk-my-own"
    assert by_api.headers["openai-organization"] == "org-mine"
    assert by_api.headers["openai-project"] == "proj-mine"


def test_a_quota_of_tokens_is_obeyed(prepare: Prepare, faults: FaultyUpstream, marker: str) -> None:
    gateway = prepare(upstream_url=faults.url, CHATAPI_DAILY_TOKENS="10")
    denied = API.ask(gateway, f"{marker} " + "many words " * 30, gateway.sign_in("plain"))
    assert denied.status_code == 429
    assert not faults.about(marker)


@pytest.mark.parametrize("key_name", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"])
def test_azure_openai_is_called_as_azure_wants_it(
    prepare: Prepare, faults: FaultyUpstream, marker: str, key_name: str
) -> None:
    settings = {
        "AZURE_OPENAI_ENDPOINT": faults.url.removesuffix("/v1"), key_name: "azure-key",
        "AZURE_OPENAI_CHATGPT_DEPLOYMENT": "my-deployment", "OPENAI_API_VERSION": "2024-06-01",
    }  # fmt: skip
    gateway = prepare(**settings)
    token = gateway.sign_in("many")
    assert answered_envelope(API.ask(gateway, marker, token)) == reply_to(marker)
    assert CHAT.ask(gateway, marker, token).text == reply_to(marker)
    for served in faults.about(marker):
        assert served.path == "/openai/deployments/my-deployment/chat/completions?api-version=2024-06-01"
        assert served.headers["api-key"] == "azure-key"


@contextmanager
def watched_proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that notes what it is asked for and refuses it: its URL, and the first lines of the requests."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(4096).split(b"\r\n")[0])
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("no_proxy", ["", "upstream.invalid"])
def test_https_goes_through_the_proxy_but_where_no_proxy_says_otherwise(prepare: Prepare, no_proxy: str) -> None:
    with watched_proxy() as (proxy_url, asked):
        gateway = prepare(upstream_url="https://upstream.invalid/v1", HTTPS_PROXY=proxy_url, NO_PROXY=no_proxy)
        assert API.ask(gateway, "hello", gateway.sign_in("many")).status_code == 500
        gateway.stop()
    assert asked == ([] if no_proxy else [b"CONNECT upstream.invalid:443 HTTP/1.1"])


def test_the_demo_upstream_answers_any_model_and_says_loudly_what_it_is(
    make_gateway: MakeGateway, sqlite_url: str
) -> None:
    gateway = make_gateway(sqlite_url, upstream_url=None, arguments=("--demo",), start=False)
    gateway.start_with_users()
    answer = gateway.http.post(
        "/v1/chat/completions", access_token=gateway.somebody,
        json={"model": "a-name-nobody-heard-of", "messages": [{"role": "user", "content": "hello"}]},
    )  # fmt: skip
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"].strip()
    assert answer.json()["usage"]["total_tokens"] > 0
    assert CHAT.ask(gateway, "hello", gateway.somebody).text.strip()
    assert "DEMO" in gateway.log()
    children = psutil.Process(gateway.pid).children(recursive=True)
    gateway.stop()
    _, left = psutil.wait_procs(children, timeout=10)
    assert [child.status() for child in left if child.is_running()] in ([], [psutil.STATUS_ZOMBIE] * len(left))


def test_the_files_of_envs_are_read_and_the_environment_wins(
    tmp_path: Path, sqlite_url: str, faults: FaultyUpstream, make_gateway: MakeGateway, marker: str
) -> None:
    house = tmp_path / "house"
    for name in ("chatapi", "migrations"):
        shutil.copytree(PROJECT_ROOT / name, house / name)
    (house / "envs").mkdir()
    (house / "envs" / "configs").write_text(json.dumps({"api": "sk-of-configs", "jwt_secret_key": JWT_SECRET}))
    (house / "envs" / ".env").write_text("CHATAPI_MODEL=model-of-the-file\nCHATAPI_SYSTEM_MESSAGE=of the file\n")
    gateway = make_gateway(
        sqlite_url, start=False, environment={"PYTHONPATH": str(house), "CHATAPI_SYSTEM_MESSAGE": "of the environment"}
    )
    for name in ("OPENAI_API_KEY", "CHATAPI_JWT_SECRET_KEY", "CHATAPI_ENV_FILE"):
        del gateway.environment[name]
    gateway.start_with_users()
    assert CHAT.ask(gateway, marker, gateway.somebody).status_code == 200
    (served,) = faults.about(marker)
    assert served.headers["authorization"] == "Bearer sk-of-configs"
    assert served.body["model"] == "model-of-the-file"
    assert served.body["messages"][0]["content"] == "of the environment"


def test_a_wrong_setting_is_said_by_every_command(tmp_path: Path) -> None:
    environment = clean_environment({"CHATAPI_TIMEZONE": "Mars/Olympus", "CHATAPI_VAR_DIR": str(tmp_path)})
    done = subprocess.run(
        [*chatapi_command(), "users", "list"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert "CHATAPI_TIMEZONE" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
