"""What is measured: each target is a running server, with the processes whose CPU it costs."""

from __future__ import annotations

import csv
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.emulator.process import Emulator
from bench.machine import FOLDER
from tests.support.gateway import Gateway
from tests.support.postgres import Postgres, migrate
from tests.support.postgres import sqlite_url as url_of_file
from tests.support.processes import PROJECT_ROOT, clean_environment, end, free_port

DURABLE = "max_connections = 200\n"  # and nothing else: PostgreSQL's defaults sync every commit
HIGH = "1000000000000"
USERS = 8
PASSWORD = "a password of the bench"
QUESTION_MODEL = "emu-events50"
ROOT_LITELLM = FOLDER / "litellm"
START_PATIENCE_S = 120.0


class Absent(Exception):
    """A target cannot be had here; the message says why, and what would help."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running server.

    Args:
        url: scheme, host and port.
        own: the roots of the processes that are the server's own.
        database: those of its database server, if it has one.
        kinds: of calls that it can answer.
        tokens: access tokens.
        note: what a reader of the figures must know.
        version: of what is foreign in it.
        requests: how many answered requests its ledger has charged, if it keeps one.
    """

    name: str
    url: str
    own: tuple[int, ...]
    database: tuple[int, ...] = ()
    kinds: frozenset[str] = frozenset({"plain", "stream"})
    tokens: tuple[str, ...] = ("sk-bench",)
    note: str = ""
    version: str = ""
    requests: Callable[[], int] | None = None


@dataclass(slots=True)
class Bench:
    """What targets share, and what ends with them."""

    emulator: Emulator
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    postgres: Postgres | None = None

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Bench]:
        """Everything that is started within ends with this."""
        with tempfile.TemporaryDirectory(prefix="chatapi-bench-") as folder, Emulator() as emulator:
            bench = cls(emulator, Path(folder))
            with bench.stack:
                yield bench

    def start_postgres(self) -> Postgres:
        """The PostgreSQL server, started once."""
        if self.postgres is None:
            self.postgres = Postgres(DURABLE)
            self.stack.callback(self.postgres.close)
        return self.postgres

    def spawn(self, command: list[str], name: str, environment: dict[str, str] | None = None) -> int:
        """Start a server whose output goes to a file; its process id."""
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=clean_environment(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.stack.callback(end, process)
        return process.pid

    def await_answer(self, url: str, name: str) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: with the end of its log, if it does not.
        """
        give_up_at = time.monotonic() + START_PATIENCE_S
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                with opener.open(url, timeout=5):
                    return
            except urllib.error.HTTPError:
                return
            except OSError as error:
                if time.monotonic() > give_up_at:
                    log = (self.folder / f"{name}.log").read_text("utf-8", "replace")
                    raise RuntimeError(f"{name} does not answer ({error}); its log ends:\n{log[-3000:]}") from error
                time.sleep(0.1)


def direct(bench: Bench) -> Target:
    """The emulator itself: what the others add their latency to."""
    return Target("direct", bench.emulator.url.removesuffix("/v1"), (bench.emulator.process.pid,))


def flask(bench: Bench) -> Target:
    """Flask's static reply under gunicorn's gevent worker, one process: the yardstick."""
    port = free_port()
    options = [
        "-k",
        "gevent",
        "-w",
        "1",
        "--worker-connections",
        "4000",
        "--keep-alive",
        "75",
        "--log-level",
        "warning",
    ]
    serve = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--no-control-socket", *options]
    pid = bench.spawn([*serve, "bench.static_app:app"], "flask")
    bench.await_answer(f"http://127.0.0.1:{port}/", "flask")
    return Target("flask", f"http://127.0.0.1:{port}", (pid,), kinds=frozenset({"static"}))


def on_sqlite(bench: Bench) -> Target:
    """ChatAPI on SQLite, one worker, every call metered."""
    url = url_of_file(bench.folder / "chatapi.sqlite3")
    migrate(url)
    return _ours(bench, "sqlite", url, (), f"SQLite {sqlite3.sqlite_version}")


def on_postgresql(bench: Bench) -> Target:
    """ChatAPI on PostgreSQL, one worker, every call metered."""
    postgres = bench.start_postgres()
    url = postgres.url(postgres.create())
    with psycopg.connect(url) as connection:
        version = f"PostgreSQL {connection.info.server_version // 10000}.{connection.info.server_version % 10000}"
    return _ours(bench, "postgresql", url, (postgres.pid,), version)


def nginx(bench: Bench) -> Target:
    """nginx as a plain proxy: the floor."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise Absent("nginx is not installed (apt-get install nginx-light)")
    port = free_port()
    path = bench.folder / "nginx.conf"
    path.write_text(NGINX.format(folder=bench.folder, port=port, upstream=bench.emulator.port), "utf-8")
    pid = bench.spawn([binary, "-c", str(path), "-e", str(bench.folder / "nginx.log"), "-g", "daemon off;"], "nginx")
    bench.await_answer(f"http://127.0.0.1:{port}/v1/models", "nginx")
    return Target("nginx", f"http://127.0.0.1:{port}", (pid,), note=NGINX_NOTE, version=_said(binary, "-v"))


def litellm(bench: Bench) -> Target:
    """LiteLLM's proxy, one worker: the peer."""
    binary = ROOT_LITELLM / "bin" / "litellm"
    if not binary.exists():
        raise Absent(
            "LiteLLM is not installed (python3 -m venv var/bench/litellm; var/bench/litellm/bin/pip install "
            "'litellm[proxy]')"
        )
    port = free_port()
    path = bench.folder / "litellm.yaml"
    path.write_text(LITELLM.format(upstream=bench.emulator.url), "utf-8")
    command = [str(binary), "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PYTHONPATH": ""}
    pid = bench.spawn(command, "litellm", environment)
    bench.await_answer(f"http://127.0.0.1:{port}/health/liveliness", "litellm")
    asked = "import importlib.metadata; print('LiteLLM', importlib.metadata.version('litellm'))"
    version = _said(str(ROOT_LITELLM / "bin" / "python"), "-c", asked)
    return Target("litellm", f"http://127.0.0.1:{port}", (pid,), note=LITELLM_NOTE, version=version)


TARGETS: dict[str, Callable[[Bench], Target]] = {
    "direct": direct,
    "flask": flask,
    "sqlite": on_sqlite,
    "postgresql": on_postgresql,
    "nginx": nginx,
    "litellm": litellm,
}


def _said(*command: str) -> str:
    """What a program says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def _ours(bench: Bench, name: str, database_url: str, database: tuple[int, ...], version: str) -> Target:
    environment = {
        "CHATAPI_WORKERS": "1",
        "CHATAPI_MODEL": QUESTION_MODEL,
        "CHATAPI_DAILY_REQUESTS": "unlimited",
        "CHATAPI_LOGIN_ADDRESS_FAILURES": "1000",
    }
    gateway = Gateway(database_url, upstream_url=bench.emulator.url, environment=environment, start=False)
    bench.stack.callback(gateway.close)
    names = [f"bench-{number}" for number in range(USERS)]
    path = bench.folder / f"{name}.csv"
    columns = ("username", "password", "tenant", "daily_requests", "daily_tokens")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *((user, PASSWORD, "bench", HIGH, HIGH) for user in names)])
    gateway.cli("users", "import", str(path))
    for metric in ("requests", "tokens"):
        gateway.cli("limits", "set", HIGH, "--tenant", "bench", "--metric", metric)
    gateway.start()
    tokens = tuple(gateway.exchange(user, PASSWORD).json()["message"]["token"] for user in names)
    kinds = frozenset({"plain", "stream", "question"})

    def requests() -> int:
        return sum(row["requests"] for row in gateway.usage("bench"))

    return Target(name, gateway.base_url, (gateway.pid,), database, kinds, tokens, version=version, requests=requests)


NGINX_NOTE = "a plain proxy: no accounts, no metering"
LITELLM_NOTE = (
    "without a database, so without virtual keys and budgets (Prisma's binaries are needed): it meters nothing"
)
NGINX = """
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  upstream emulator {{ server 127.0.0.1:{upstream}; keepalive 2000; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://emulator; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""

LITELLM = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/*", api_base: "{upstream}", api_key: "sk-none"}}
litellm_settings: {{drop_params: false, telemetry: false}}
general_settings: {{master_key: "sk-bench"}}
"""
