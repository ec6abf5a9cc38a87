"""The load driver sees what is wrong with replies, and the accounts of what processes cost are right."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from bench import report
from bench.accounting import cpu_s, own_bytes, tree
from bench.emulator.process import Emulator
from bench.load.driver import Load, percentiles
from bench.load.judge import dechunked, events_in, judge_of
from bench.load.process import run


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def load(emulator: Emulator, kind: str, model: str, calls: int = 40, in_flight: int = 8) -> Load:
    return Load(emulator.url.removesuffix("/v1"), kind, in_flight, calls=calls, seconds=20.0, model=model)


@pytest.mark.parametrize("kind", ["plain", "stream"])
def test_good_replies_are_counted_and_timed(emulator: Emulator, kind: str) -> None:
    found = run(load(emulator, kind, "emu-delay20-events5-bytes50"))
    assert (found["calls"], found["good"], found["broken"]) == (40, 40, {})
    assert 20 <= found["latency_ms"]["p50"] <= found["latency_ms"]["p99"] <= found["latency_ms"]["max"]
    assert found["calls_per_s"] <= 8 / 0.02
    if kind == "stream":
        assert round(found["events_per_s"] * found["seconds"]) == pytest.approx(200, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "model", "reason"),
    [
        ("plain", "emu-status429", "status 429"),
        ("plain", "emu-cut1", "connection lost"),
        ("plain", "emu-drop", "connection lost"),
        ("stream", "emu-cut3", "connection lost"),
        ("stream", "emu-nodone", "no [DONE]"),
        ("stream", "emu-status500", "status 500"),
    ],
)
def test_broken_replies_are_counted_by_what_is_wrong(emulator: Emulator, kind: str, model: str, reason: str) -> None:
    found = run(load(emulator, kind, model, calls=9, in_flight=3))
    assert (found["good"], found["broken"]) == (0, {reason: 9})


def test_a_call_without_end_is_given_up(emulator: Emulator) -> None:
    address = emulator.url.removesuffix("/v1")
    found = run(Load(address, "stream", 2, calls=2, model="emu-stall2", patience_s=0.5))
    assert found["broken"] == {"no end in time": 2}


def test_a_target_that_is_not_there_breaks_every_call() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = run(Load(f"http://127.0.0.1:{unused.getsockname()[1]}", "plain", 2, calls=4))
    assert found["broken"] == {"no connection: ConnectionRefusedError": 4}


def test_a_text_that_was_changed_is_broken() -> None:
    good = b'data: {"choices":[{"delta":{"content":" time"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    judge = judge_of("stream", " time")
    assert judge(200, good) is None
    assert judge(200, good.replace(b" time", b" tide")) == "another text"
    assert judge(200, good.replace(b'"stop"', b"null")) == "no finish reason"
    assert events_in(good) == 1
    assert judge_of("plain", None)(200, b"{}") == "no completion"
    assert judge_of("question", " time")(200, b'{"message":" time"}') is None
    assert judge_of("question", " time")(200, b'{"message":" tim"}') == "another text"


def test_chunks_that_are_not_whole_are_refused() -> None:
    assert dechunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n") == b"abcde"
    for broken in (b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc\r\n", b"x\r\n"):
        with pytest.raises(ValueError):
            dechunked(broken)


def test_percentiles_are_ranks_in_milliseconds() -> None:
    assert percentiles([number / 1000 for number in range(1, 101)]) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert percentiles([]) == {}


def test_cpu_and_memory_of_children_are_accounted_for() -> None:
    burn = "import time; end = time.process_time() + 0.5; ballast = bytearray(30_000_000)\n"
    burn += "while time.process_time() < end: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print('done', flush=True)"
    child += "; input()"
    command = [sys.executable, "-c", child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin and parent.stdout
        timer = threading.Timer(60, parent.kill)
        timer.start()
        while len(tree(parent.pid)) < 2 or own_bytes([parent.pid]) < 30_000_000:
            assert parent.poll() is None
        assert parent.stdout.readline() == b"done\n"
        assert tree(parent.pid) == {parent.pid}
        assert 0.5 <= cpu_s([parent.pid]) < 5  # of the child, which is gone
        assert own_bytes([parent.pid]) < 30_000_000
        timer.cancel()
        parent.stdin.close()
    assert os.getpid() in tree(os.getppid())


def test_ratios_are_those_of_the_same_round() -> None:
    def result(number: int, target: str, workload: str, kind: str, own_cpu_s: float, p50: float) -> report.Result:
        common = {"in_flight": 64, "good": 1000, "broken": {}, "calls_per_s": 500, "seconds": 2.0, "events_per_s": 0}
        latency = {"latency_ms": {"p50": p50, "p99": 2 * p50}, "database_cpu_s": 0.0}
        named = {"round": number, "target": target, "workload": workload, "kind": kind, "own_cpu_s": own_cpu_s}
        return {**common, **latency, **named}

    results = []
    for number, slower in enumerate((1.0, 3.0, 2.0)):  # the machine drifts from round to round
        results += [
            result(number, "flask", "static, 64", "static", 0.2 * slower, 1.0),
            result(number, "direct", "plain, 64", "plain", 0.1 * slower, 2.0 * slower),
            result(number, "postgresql", "plain, 64", "plain", 1.0 * slower, 5.0 * slower),
        ]
    rows = {row["target"]: row for row in report.rows(results, {}, ["static, 64", "plain, 64"])}
    assert rows["postgresql"]["times_flask"] == 5
    assert rows["postgresql"]["own_ms"] == 2
    assert rows["postgresql"]["added_p50"] == 6
    (goal,) = report.goals(list(rows.values()), [])
    assert (goal["measured"], goal["goal"], goal["met"]) == (5, 4.5, False)
    assert "MISSED" in report.table(list(rows.values()), [], {}, [goal])
