"""`wsgi.py` under a threaded server without gevent: the same service."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.support.gateway import Gateway, MakeGateway
from tests.support.processes import clean_environment, end


@pytest.fixture
def threaded(database_url: str, make_gateway: MakeGateway) -> Iterator[Gateway]:
    gateway = make_gateway(database_url, start=False)
    gateway.import_users()
    environment = clean_environment(gateway.environment)
    command = [sys.executable, "-m", "tests.support.threaded_server", str(gateway.port)]
    with gateway.log_path.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        await_ready(gateway, process)
        yield gateway
    finally:
        end(process)


def await_ready(gateway: Gateway, process: subprocess.Popen[bytes]) -> None:
    give_up_at = time.monotonic() + 30
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            if gateway.http.get("/readyz").is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.05)
    raise AssertionError(gateway.log())


def test_tokens_answers_streams_and_quotas_are_the_same_without_gevent(threaded: Gateway) -> None:
    user = threaded.users.take("plain")
    headers = {"Authorization": f"Bearer {threaded.token(user)}"}

    def ask(number: int) -> int:
        return threaded.http.get("/api", params={"q": f"question {number}"}, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(14)))
    assert sorted(statuses) == [200] * 10 + [429] * 4
    body = {"messages": [{"role": "user", "content": "hello"}]}
    streamed = threaded.http.post("/chat", json=body, headers={"Authorization": f"Bearer {threaded.sign_in()}"})
    assert streamed.status_code == 200
    assert streamed.text
    assert threaded.run("audit").returncode == 0
