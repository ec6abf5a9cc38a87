"""Completions and responses of a real server, llama.cpp's: what it reports is what the ledger has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.gateway import Gateway
from tests.support.ledger import await_endings, endings


class Asker:
    """The official client at the gateway before the real model."""

    def __init__(self, gateway: Gateway) -> None:
        self.client = openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=gateway.sign_in("many"), max_retries=0)
        self._url = gateway.database_url
        self._before = len(endings(self._url))

    def charged(self) -> tuple[str, str, int, int]:
        (call,) = await_endings(self._url, 1, 5, after=self._before)
        return call.ended, call.source, call.prompt_tokens, call.completion_tokens


@pytest.fixture
def asker(llama_gateway: Gateway) -> Iterator[Asker]:
    made = Asker(llama_gateway)
    yield made
    made.client.close()


@pytest.mark.parametrize(
    ("prompt", "stream"),
    # Of several prompts it streams lists, which are no events of OpenAI's.
    [("hello sea", False), ("hello sea", True), (["hello", "sea"], False), ([5, 6, 7], False), ([5, 6, 7], True)],
    ids=str,
)
def test_a_completion(asker: Asker, prompt: list[str], stream: bool) -> None:
    if stream:
        events = list(
            asker.client.completions.create(
                model="tiny", prompt=prompt, max_tokens=7, stream=True, stream_options={"include_usage": True}
            )
        )
        text, usages = (
            "".join(choice.text for event in events for choice in event.choices),
            [event.usage for event in events],
        )
        usage = next(usage for usage in reversed(usages) if usage)
    else:
        made = asker.client.completions.create(model="tiny", prompt=prompt, max_tokens=7)
        assert made.usage is not None
        text, usage = made.choices[0].text, made.usage
    assert text
    ended, source, prompt_tokens, completion_tokens = asker.charged()
    assert (ended, source) == ("completed", "upstream")
    assert (prompt_tokens, completion_tokens) == (usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_a_response(asker: Asker, stream: bool) -> None:
    create: Any = asker.client.responses.create
    asked = [{"role": "user", "content": [{"type": "input_text", "text": "hello sea"}]}]
    if stream:
        events = list(create(model="tiny", input=asked, max_output_tokens=9, stream=True))
        assert events[-1].type in {"response.completed", "response.incomplete"}
        response = events[-1].response
    else:
        response = create(model="tiny", input=asked, max_output_tokens=9)
    assert response.output_text
    usage = response.usage
    assert asker.charged() == ("completed", "upstream", usage.input_tokens, usage.output_tokens)
