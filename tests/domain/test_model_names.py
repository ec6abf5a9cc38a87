"""What a model is, however an upstream spells its name."""

from __future__ import annotations

import pytest

from chatapi.domain import chat_request, model_names
from chatapi.upstream import tokens


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("GPT-4o", "gpt-4o"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("router/openai/o3-mini", "o3-mini"),
        ("ft:gpt-4o-mini:ours::x", "gpt-4o-mini"),
        ("ft:gpt-4o:team/project:x", "gpt-4o"),
        ("openai/ft:gpt-4o", "gpt-4o"),
        ("qwen3:8b", "qwen3:8b"),
    ],
)
def test_the_plain_name(model: str, name: str) -> None:
    assert model_names.plain_name(model) == name


@pytest.mark.parametrize(
    "model",
    ["o1", "o3-mini", "openai/o3-mini", "gpt-5", "openai/gpt-5", "ft:gpt-5:x", "deepseek/deepseek-r1", "DeepSeek-R1:8b",
     "anthropic/claude:sonnet-thinking"],
)  # fmt: skip
def test_models_that_reason(model: str) -> None:
    request = chat_request.parse(
        {"model": model, "messages": [{"role": "user", "content": "a"}], "max_tokens": 9, "temperature": 0.5}
    )
    assert request.reasons
    body = request.in_words_of_its_model().body
    assert body["max_completion_tokens"] == 9
    assert not {"max_tokens", "temperature"} & body.keys()


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4.1", "ft:gpt-4o:o1-like", "llama-3.1-8b", "gpt-3.5-turbo"])
def test_models_that_do_not(model: str) -> None:
    request = chat_request.parse({"model": model, "messages": [{"role": "user", "content": "a"}], "temperature": 0})
    assert not request.reasons
    assert request.in_words_of_its_model() is request


def test_a_fine_tuned_model_has_the_vocabulary_of_its_base() -> None:
    assert tokens.has_vocabulary("ft:gpt-4o:team/project:x")
