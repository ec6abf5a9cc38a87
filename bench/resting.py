"""How fast a call is refused when all upstreams are down: `python -m bench.resting [--quick]`.

A gateway with three upstreams: one that answers 500, one that hangs, one that nobody listens at. First the breakers are
opened by calls that fail; then calls of each kind are timed, one after the other and sixteen at once. Exits with 1 when
one took longer than the goal, or was answered with another status than 502 or 503.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from bench.emulator.process import Emulator
from bench.targets import PASSWORD
from tests.support.gateway import Gateway
from tests.support.processes import free_port

GOAL_MS = 100
AT_ONCE = 16
FILE = """
[[upstreams]]
name = "failing"
kind = "compatible"
base_url = "{url}/v1"
names.gpt-4o-mini = "emu-status500"

[[upstreams]]
name = "hanging"
kind = "compatible"
base_url = "{url}/v1"
names.gpt-4o-mini = "emu-hang"

[[upstreams]]
name = "away"
kind = "compatible"
base_url = "http://127.0.0.1:{port}/v1"

[retries]
share = 1.0
reserve = 1000

[breaker]
failures = 5
open_s = 600
"""
MESSAGES = [{"role": "user", "content": "Is anybody there?"}]
CALLS = {
    "/v1, plain": ("POST", "/v1/chat/completions", {"model": "gpt-4o-mini", "messages": MESSAGES}),
    "/v1, stream": ("POST", "/v1/chat/completions", {"model": "gpt-4o-mini", "messages": MESSAGES, "stream": True}),
    "/chat": ("POST", "/chat", {"messages": MESSAGES}),
    "/chatgpt_prompt": (
        "POST",
        "/chatgpt_prompt",
        {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 9, "temperature": 0},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 calls of each kind instead of 500")
    parser.add_argument("--database-url", help="an empty database; a new SQLite file by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Emulator() as emulator:
        folder = Path(name)
        file = folder / "upstreams.toml"
        file.write_text(FILE.format(url=emulator.url, port=free_port()))
        url = arguments.database_url or f"sqlite:///{folder / 'bench.sqlite3'}"
        environment = {
            "CHATAPI_UPSTREAMS_FILE": str(file),
            "CHATAPI_FIRST_BYTE_TIMEOUT_S": "0.2",
            "CHATAPI_DAILY_REQUESTS": "unlimited",
            "CHATAPI_MODEL": "gpt-4o-mini",
        }
        gateway = Gateway(url, upstream_url=None, environment=environment, start=False)
        try:
            missed = measure(gateway, 50 if arguments.quick else 500)
        finally:
            gateway.close()
    sys.exit(missed)


def measure(gateway: Gateway, calls: int) -> bool:
    """Whether the goal was missed."""
    gateway.cli("db", "upgrade")
    gateway.cli("users", "add", "bench", "--password-stdin", stdin=f"{PASSWORD}\n")
    gateway.start()
    token = gateway.exchange("bench", PASSWORD).json()["message"]["token"]
    headers = {"Authorization": f"Bearer {token}"}
    missed = False
    with httpx2.Client(base_url=gateway.base_url, headers=headers, timeout=60, trust_env=False) as client:
        opened = open_breakers(client)
        print(f"The breakers were open after {opened} calls.")
        for name, (method, path, body) in CALLS.items():
            for at_once in (1, AT_ONCE):

                def ask(_: int, method: str = method, path: str = path, body: object = body) -> tuple[int, float]:
                    began = time.perf_counter()
                    status = client.request(method, path, json=body).status_code
                    return status, (time.perf_counter() - began) * 1000

                with ThreadPoolExecutor(at_once) as pool:
                    found = list(pool.map(ask, range(calls)))
                taken = sorted(each for _, each in found)
                statuses = Counter(status for status, _ in found)
                print(
                    f"{name}, {at_once} at once: median {statistics.median(taken):.1f} ms, "
                    f"99 of 100 within {taken[len(taken) * 99 // 100]:.1f}, worst {taken[-1]:.1f}; {dict(statuses)}"
                )
                missed |= taken[-1] >= GOAL_MS or not set(statuses) <= {502, 503}
    print(f"Goal: every one under {GOAL_MS} ms, and 502 or 503: {'missed' if missed else 'met'}")
    return missed


def open_breakers(client: httpx2.Client) -> int:
    """Ask until a refusal comes at once, three times in a row; how many calls that took."""
    quick = 0
    for number in range(1, 101):
        began = time.perf_counter()
        method, path, body = CALLS["/v1, plain"]
        client.request(method, path, json=body)
        quick = quick + 1 if time.perf_counter() - began < GOAL_MS / 1000 else 0
        if quick == 3:
            return number
    raise RuntimeError("the breakers did not open within 100 calls")


if __name__ == "__main__":
    main()
