"""The reply of a real OpenAI-compatible server, llama.cpp's, with its real usage in the ledger."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway
from tests.support.routes import API, CHAT, PROMPT, ROUTES, Route, messages, name_of

PATH = "/v1/chat/completions"
USAGE_KEYS = {
    "tenant", "user", "model", "day", "requests", "prompt_tokens", "completion_tokens", "total_tokens",
    "cost_nanodollars",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("far_from_midnight")


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_every_route_answers_with_what_the_model_says(llama_gateway: Gateway, route: Route) -> None:
    answer = route.ask(llama_gateway, "hello", llama_gateway.somebody)
    assert answer.status_code == 200
    assert route.answer(answer).strip()


def test_the_ledger_has_the_usage_that_the_model_reported(llama_gateway: Gateway) -> None:
    user = llama_gateway.users.take("many")
    token = llama_gateway.token(user)
    reported: Counter[str] = Counter()
    for number in range(3):
        counts = {"max_tokens": 5 + number, "n": 1 + number % 2}
        body = {"model": "llama-a", "messages": messages("hello " * number), **counts}
        answer = llama_gateway.http.post(PATH, json=body, access_token=token)
        assert answer.status_code == 200
        reported.update(_counts(answer.json()["usage"]))
    with openai.OpenAI(base_url=f"{llama_gateway.base_url}/v1", api_key=token) as client:
        for chunk in client.chat.completions.create(
            model="llama-a", messages=[{"role": "user", "content": "hello"}], max_tokens=9, stream=True,
            stream_options={"include_usage": True},
        ):  # fmt: skip
            if chunk.usage:
                reported.update(_counts(chunk.usage.model_dump()))
    (row,) = llama_gateway.usage(user.tenant)
    assert row.keys() == USAGE_KEYS
    assert _counts(row) == reported
    assert row["requests"] == 4
    assert row["user"] == user.name
    assert row["model"] == "llama-a"
    assert row["day"] == datetime.now(UTC).strftime("%Y-%m-%d")


def test_routes_that_show_no_usage_are_metered_all_the_same(llama_gateway: Gateway) -> None:
    user = llama_gateway.users.take("many")
    token = llama_gateway.token(user)
    for route in (API, PROMPT, CHAT):
        assert route.ask(llama_gateway, "hello", token).status_code == 200
    # One like the stream of /chat, but without asking for the usage.
    body = {"model": "tiny", "messages": messages("hello"), "stream": True, "max_tokens": 7}
    assert llama_gateway.http.post(PATH, json=body, access_token=token).status_code == 200
    (row,) = llama_gateway.usage(user.tenant)
    assert row["requests"] == 4
    assert row["prompt_tokens"] > 4 * len("hello") - 4
    assert row["completion_tokens"] > 4
    assert row["total_tokens"] == row["prompt_tokens"] + row["completion_tokens"]


def test_the_audit_of_the_ledger_finds_nothing(llama_gateway: Gateway) -> None:
    llama_gateway.sign_in("plain")
    llama_gateway.cli("audit")


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
