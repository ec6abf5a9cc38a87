"""Limits set as an administrator does, and what clients are told by those that are met."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.support.gateway import Gateway
from tests.support.routes import messages, refused_error

PATH = "/v1/chat/completions"
A_MINUTE_S = 60


def limit(gateway: Gateway, value: str, *more: str) -> None:
    gateway.cli("limits", "set", value, *more)


def ask(gateway: Gateway, token: str, text: str = "hello", **more: Any) -> httpx2.Response:
    body = {"model": "tiny", "messages": messages(text), **more}
    return gateway.http.post(PATH, json=body, access_token=token)


def statuses(gateway: Gateway, token: str, count: int, **more: Any) -> list[int]:
    return [ask(gateway, token, **more).status_code for _ in range(count)]


def rate_limited(answer: httpx2.Response) -> str:
    """The message of a denial that a client may come back from within a minute."""
    assert answer.status_code == 429, answer.text
    said = refused_error(answer)
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("rate_limit_exceeded", "rate_limit_exceeded", None)
    assert 1 <= int(answer.headers["retry-after"]) <= A_MINUTE_S
    assert "x-should-retry" not in answer.headers
    return said
