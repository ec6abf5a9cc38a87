"""The nursery, in which gateways of the tests are born: they are what they would be as programs of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.gateway import MakeGateway
from tests.support.nursery import Nursery
from tests.support.processes import clean_environment

# Read by the master: says how it finds the standard library, and how its forks, the workers, do.
SPY = """
import os, queue, select, signal, socket, sys, time
def said():
    return [value.__module__ for value in (os.fork, queue.SimpleQueue, select.select, signal.signal, time.sleep)]
print("master", *said(), hasattr(select, "epoll"), os.getcwd(), sys.argv[1:], "PATH" in os.environ, flush=True)
if child := os.fork():
    os.waitpid(child, 0)
    raise SystemExit(3)
print("worker", *said(), socket.socket.__module__, flush=True)
os._exit(0)
"""


def test_masters_find_the_standard_library_as_it_is_and_workers_find_it_patched(
    make_gateway: MakeGateway, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "spy.py").write_text(SPY)
    gateway = make_gateway(sqlite_url, start=False)
    arguments = ("-c", str(tmp_path / "spy.py"))
    nursery = Nursery()
    born = nursery.bear(arguments, clean_environment(gateway.environment), gateway.folder, gateway.log_path)
    assert born.wait(20) == 3
    nursery.close()
    master, worker = gateway.log().splitlines()
    own = "posix _queue select signal time"
    assert master == f"master {own} True {gateway.folder} {list(arguments)} True"
    assert worker == "worker gevent.os gevent._gevent_cqueue gevent.select gevent.signal gevent.hub gevent._socket3"


def test_what_runs_ends_with_the_nursery(make_gateway: MakeGateway, sqlite_url: str) -> None:
    gateway = make_gateway(sqlite_url, start=False)
    nursery = Nursery()
    arguments = ("-c", "python:chatapi.gunicorn_conf")
    born = nursery.bear(arguments, clean_environment(gateway.environment), gateway.folder, gateway.log_path)
    assert born.poll() is None
    nursery.close()
    gone_by = time.monotonic() + 10
    while _is_there(born.pid):
        assert time.monotonic() < gone_by, "it runs on"
        time.sleep(0.02)


def test_what_a_gateway_cannot_start_with_is_said_as_by_a_program(make_gateway: MakeGateway, sqlite_url: str) -> None:
    said = []
    for from_nursery in (True, False):
        gateway = make_gateway(sqlite_url, environment={"CHATAPI_DAILY_REQUESTS": "many"}, start=False)
        gateway.from_nursery = from_nursery
        with pytest.raises(RuntimeError, match="the gateway is not ready"):
            gateway.start()
        said.append(gateway.log().splitlines()[-1])
    assert said[0] == said[1]
    assert "CHATAPI_DAILY_REQUESTS" in said[0]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
