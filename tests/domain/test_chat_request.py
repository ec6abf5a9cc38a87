"""What a client may ask for, and what is made of it before it goes upstream."""

from __future__ import annotations

import pytest

from chatapi.domain import chat_request
from chatapi.domain.bounds import prompt_bound_of
from chatapi.domain.model_names import reasons
from chatapi.errors import InvalidRequest

MESSAGE = {"role": "user", "content": "hello"}


def body(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [MESSAGE], **more}


@pytest.mark.parametrize("name", ["n_predict", "num_predict", "max_new_tokens", "max_output_tokens"])
def test_a_cap_by_another_servers_name_is_held_to_the_quota_too(name: str) -> None:
    request = chat_request.parse(body(max_tokens=3, **{name: 200}))
    assert request.need(1024).completion_wanted == 200
    sent = request.upstream_body("m", 50)
    assert (sent["max_tokens"], sent[name]) == (3, 50)
    with pytest.raises(InvalidRequest):
        chat_request.parse(body(**{name: -1}))


def test_of_two_caps_neither_is_raised() -> None:
    sent = chat_request.parse(body(max_tokens=5, max_completion_tokens=1000)).upstream_body("m", 800)
    assert (sent["max_tokens"], sent["max_completion_tokens"]) == (5, 800)


def test_choices_that_are_made_and_thrown_away_count() -> None:
    assert chat_request.parse(body(n=2, best_of=5, max_tokens=10)).need(1024).completion_wanted == 50


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://media.test/x.mp4"}}]},
        {"role": "user", "content": [{"image_url": {"url": "https://media.test/x.png"}}]},
        {"role": "user", "content": [1]},
        {"role": "assistant", "content": "hm", "audio": {"id": "audio_1"}},
    ],
)
def test_what_nothing_here_can_bound_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        chat_request.parse(body(messages=[message]))


def test_a_template_of_the_clients_own_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="chat_template"):
        chat_request.parse(body(chat_template="{% for i in range(1000) %}{{ messages }}{% endfor %}"))


@pytest.mark.parametrize("text", ["\x01" * 1000, "<&>'" * 1000, "é" * 1000, "漢" * 1000, '"\\' * 1000])
def test_tools_are_bounded_as_templates_may_write_them(text: str) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": text, "parameters": {}}}
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    written = escaped if not text.startswith('"') else text.replace("\\", "\\\\").replace('"', '\\"')
    assert prompt_bound_of(body(tools=[tool])) >= len(written)


@pytest.mark.parametrize(
    "model",
    ["o3", "openai/o3-mini", "ft:o4-mini:ours::x", "gpt-5", "openai/gpt-5", "deepseek/deepseek-r1", "gemini-2.5-pro",
     "grok-4", "qwen3-32b", "kimi-k2-thinking", "deepseek-reasoner"],
)  # fmt: skip
def test_models_that_may_think_unseen_are_known(model: str) -> None:
    assert reasons(model)


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4.1-mini", "ft:gpt-4o:ours::x", "llama-3.1-8b", "tiny", "mistral-small"]
)
def test_models_that_do_not_are_not_taken_for_such(model: str) -> None:
    assert not reasons(model)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_effort", "thinking", "enable_thinking"])
def test_who_asks_for_thinking_gets_a_model_that_thinks(field: str) -> None:
    assert chat_request.parse(body(**{field: "x"})).reasons
