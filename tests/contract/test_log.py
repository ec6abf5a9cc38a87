"""One JSON line per request in the log, with its id, principal, status, time and tokens, and never a secret."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from tests.support.faults import PROMPT_TOKENS
from tests.support.gateway import JWT_SECRET, Gateway
from tests.support.routes import COMPLETIONS
from tests.support.users import PASSWORD

UUID_LENGTH = 36


def line_of(gateway: Gateway, request_id: str, patience_s: float = 5.0) -> dict[str, Any]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        lines = [line for line in gateway.log_lines() if request_id in line.values()]
        if lines:
            assert len(lines) == 1, lines
            return lines[0]
        time.sleep(0.05)
    raise AssertionError(f"no line of request {request_id} in the log")


def test_every_request_is_one_line_of_json_without_its_prompt(gateway: Gateway, marker: str) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    answer = COMPLETIONS.ask(gateway, marker, token)
    line = line_of(gateway, answer.headers["x-request-id"])
    assert 200 in line.values()
    assert any(value in (user.tenant, user.name) or len(str(value)) == UUID_LENGTH for value in line.values())
    total = PROMPT_TOKENS + answer.json()["usage"]["completion_tokens"]
    numbers = [value for value in line.values() if isinstance(value, int | float)]
    assert total in numbers or {PROMPT_TOKENS, total - PROMPT_TOKENS} <= set(numbers)
    assert list(line)[-3:] == ["event", "level", "timestamp"]
    assert (line["event"], line["level"]) == ("request", "info")
    written_at = datetime.fromisoformat(line["timestamp"])
    assert line["timestamp"].endswith("Z")
    assert abs((datetime.now(UTC) - written_at).total_seconds()) < 60
    log = gateway.log()
    for secret in (marker, token, PASSWORD, JWT_SECRET, "sk-of-the-tests"):
        assert secret not in log


def test_a_refused_request_is_in_the_log_too(gateway: Gateway) -> None:
    answer = COMPLETIONS.ask(gateway, "hello", None)
    assert 401 in line_of(gateway, answer.headers["x-request-id"]).values()
