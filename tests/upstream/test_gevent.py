"""The same code under gevent's monkey-patching, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import time
import gevent
from chatapi.errors import UpstreamBroken, UpstreamTimeout
from chatapi.upstream.demo_process import start_demo
from tests.upstream.servers import BODY, END, delta, event, serving, streaming, upstream_at

slow = streaming(0.2, event(delta("Hel")), 0.2, event(delta("lo", "stop")), event(b"[DONE]"), END)
with serving(slow) as server, upstream_at(server.base_url, first_byte_timeout_s=30, idle_timeout_s=30) as upstream:
    upstream.warm_up()
    began = time.monotonic()
    read = lambda: "".join(e.text for e in upstream.open(BODY, call_id="call-1"))
    jobs = [gevent.spawn(read) for _ in range(50)]
    assert [job.get() for job in jobs] == ["Hello"] * 50
    assert time.monotonic() - began < 15, "they waited for each other: one after the other takes 20 s"

with serving(streaming(event(delta("He")), 9)) as server, upstream_at(server.base_url) as upstream:
    stream = upstream.open(BODY, call_id="call-1")
    gevent.spawn_later(0.1, stream.close)
    began = time.monotonic()
    try:
        list(stream)
    except UpstreamBroken:
        assert time.monotonic() - began < 6
    else:
        raise AssertionError("a cut stream looked whole")

    stream = upstream.open(BODY, call_id="call-2")
    reader = gevent.spawn(list, stream)
    gevent.sleep(0.1)
    reader.kill()
    stream.close()

silent = streaming(event(delta("He")), 0.6)
with serving(silent) as server, upstream_at(server.base_url, idle_timeout_s=0.2) as upstream:
    try:
        list(upstream.open(BODY, call_id="call-1"))
    except UpstreamTimeout:
        print("all is well")
"""

WEBHOOKS = """
from gevent import monkey
monkey.patch_all()
import _socket, socket, time
import gevent
from chatapi.upstream import webhooks

def drip(listener):
    connection, _ = listener.accept()
    connection.recv(65536)
    connection.sendall(bytes([22, 3, 3, 64, 0]))  # a record of TLS, of which a byte comes now and then
    for _ in range(100):
        time.sleep(0.1)
        connection.sendall(bytes([2]))

with socket.create_server(("127.0.0.1", 0)) as listener:
    gevent.spawn(drip, listener)
    began = time.monotonic()
    outcome = webhooks.post(f"https://127.0.0.1:{listener.getsockname()[1]}/", b"", {}, private=True, timeout_s=0.5)
    assert time.monotonic() - began < 3
    assert outcome.problem == "no answer within 0.5 s", outcome

answers, sleep = [], monkey.get_original("time", "sleep")

def silent(*_, **__):
    while not answers:
        sleep(0.05)
    raise OSError

monkey.saved["socket"]["getaddrinfo"] = _socket.getaddrinfo = silent
jobs = [gevent.spawn(webhooks.post, "https://silent.example/", b"", {}) for _ in range(webhooks.AT_ONCE)]
gevent.sleep(0.2)
with gevent.Timeout(5, AssertionError("name servers that are silent took the threads of all others")):
    gevent.get_hub().threadpool.apply(time.monotonic)
answers.append(True)
assert {job.get().problem for job in jobs} == {webhooks.NO_PUBLIC_ADDRESS}
print("all is well")
"""

TWICE = ("calls", "failures", "proxies", "broken_streams", "cutting_off", "connections", "keep_alive", "pool")


@pytest.mark.slow
@pytest.mark.timeout(330)
def test_what_holds_in_threads_holds_under_gevent() -> None:
    paths = [f"tests/upstream/test_{name}.py" for name in TWICE]
    arguments = [sys.executable, "-m", "tests.upstream.under_gevent", *paths]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program", [PROGRAM, WEBHOOKS], ids=["calls", "webhooks"])
def test_what_is_slow_keeps_no_other_waiting_under_gevent(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "all is well", done.stderr
