"""Each client does what it is for, with an access token as its key, and the ledger has what its upstream reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.conftest import Installation
from tests.clients.ledger import ledger_equals, rows_of

pytestmark = pytest.mark.clients

TEXT, CITY = "Hello from aimock.", {"name": "Paris", "people": 2_100_000}
SUNNY = "It is sunny in Paris."
ERRORS = ("broken_off", "unauthorised", "quota", "rate_limited")
CHAT = ("chat", "stream")
MOCKED = {
    "openai_sync.py": (*CHAT, "truncated", "tools", "structured", "responses", *ERRORS),
    "openai_async.py": (*CHAT, "at_once", "tools", "structured", *ERRORS[1:]),
    "langchain_program.py": (*CHAT, "tools", "structured", "embeddings_of_ids", *ERRORS),
    "llm_program.py": (*CHAT, "tools", "structured", *ERRORS),
    "instructor_program.py": ("chat", "tools", "structured", "stream", *ERRORS[1:]),
    "pydantic_ai_program.py": (*CHAT, "tools", "structured", "structured_by_tool", "responses", *ERRORS),
    "openai_node.mjs": (*CHAT, "truncated", "tools", "tools_stream", "structured", "responses", *ERRORS),
    "vercel_openai.mjs": (*CHAT, "truncated", "tools", "structured", *ERRORS),
    "vercel_responses.mjs": (*CHAT, "tools", "structured", *ERRORS),
    "vercel_compatible.mjs": (*CHAT, "truncated", "tools", "structured", *ERRORS),
}
REAL = {
    "openai_sync.py": (*CHAT, "responses", "embeddings", "models"),
    "openai_async.py": (*CHAT, "at_once", "embeddings", "models"),
    "langchain_program.py": (*CHAT, "embeddings"),
    "llm_program.py": CHAT,
    "instructor_program.py": ("chat",),
    "pydantic_ai_program.py": (*CHAT, "responses"),
    "openai_node.mjs": (*CHAT, "responses", "embeddings", "models"),
    "vercel_openai.mjs": (*CHAT, "embeddings"),
    "vercel_compatible.mjs": (*CHAT, "embeddings"),
}
CALLS = {"at_once": 8, "unauthorised": 0, "quota": 0, "models": 0}


@pytest.fixture
def mocked(aimock_gateway: Installation) -> Iterator[Installation]:
    yield from _accounted_for(aimock_gateway)


@pytest.fixture
def real(recorded_llama_gateway: Installation) -> Iterator[Installation]:
    yield from _accounted_for(recorded_llama_gateway)


def _accounted_for(installation: Installation) -> Iterator[Installation]:
    before = frozenset(rows_of(installation.gateway.database_url))
    yield installation
    rows = ledger_equals(installation.gateway.database_url, installation.recorder.log, before=before)
    assert rows, "nothing was asked"
    installation.gateway.cli("audit")


@pytest.mark.parametrize("program", MOCKED)
def test_tools_structured_output_and_errors(mocked: Installation, program: str) -> None:
    steps = MOCKED[program]
    results = mocked.run(program, *steps)
    for step in steps:
        CHECKS[step](results[step], program)


@pytest.mark.parametrize("program", REAL)
def test_a_real_model(real: Installation, program: str) -> None:
    before = len(real.recorder.answers)
    results = real.run(program, *REAL[program])
    assert len(real.recorder.answers) - before == sum(CALLS.get(step, 1) for step in REAL[program])
    for step in (*CHAT, "responses"):
        if step in results:
            assert results[step]["text"].strip()
            assert results[step].get("usage", {}).get("completion_tokens", 9) in range(1, 17)
    if "models" in results:
        assert results["models"]["ids"]
        assert results["models"]["found"]
    if "embeddings" in results:
        assert results["embeddings"]["vectors"] in (1, 2)
        assert results["embeddings"]["same_size"]


def made_vectors(result: dict[str, Any], _: str) -> None:
    assert result["vectors"] == 2
    assert result["same_size"]


def said_hello(result: dict[str, Any], program: str) -> None:
    if program == "instructor_program.py" and "value" in result:  # what it streams is always an object
        assert result["value"] == CITY
        return
    assert result["text"] == TEXT
    if "usage" in result and program != "vercel_responses.mjs":  # aimock says 0 there, so it is counted
        assert result["usage"]["prompt_tokens"] > 0
        assert result["usage"]["completion_tokens"] > 0


def said_hello_each_time(result: dict[str, Any], _: str) -> None:
    assert result["texts"] == [TEXT] * 8


def was_cut_short(result: dict[str, Any], _: str) -> None:
    assert (result["text"], result["finish"]) == ("This would be lon", "length")


def used_the_tool(result: dict[str, Any], _: str) -> None:
    assert result["name"] == "get_weather"
    assert result.get("arguments", {"city": "Paris"}) == {"city": "Paris"}
    assert result.get("text", SUNNY) == SUNNY
    assert result.get("value", CITY) == CITY


def gave_the_city(result: dict[str, Any], _: str) -> None:
    assert result["value"] == CITY


def broke(result: dict[str, Any], _: str) -> None:
    """A stream that is cut must not look whole."""
    assert "answered" not in result, result
    assert result["error"], result


def was_refused(status: int, *words: str) -> Any:
    def check(result: dict[str, Any], _: str) -> None:
        assert "answered" not in result
        assert result["status"] == status or (result["status"] is None and str(status) in result["message"]), result
        told = str(result)
        assert all(word in told for word in words), told

    return check


CHECKS = {
    "chat": said_hello,
    "stream": said_hello,
    "at_once": said_hello_each_time,
    "responses": said_hello,
    "embeddings_of_ids": made_vectors,
    "truncated": was_cut_short,
    "tools": used_the_tool,
    "tools_stream": used_the_tool,
    "structured": gave_the_city,
    "structured_by_tool": gave_the_city,
    "broken_off": broke,
    "unauthorised": was_refused(401),
    "quota": was_refused(429, "limit of 0 requests per day"),
    "rate_limited": was_refused(429),
}
