"""Requests of OpenAI's endpoints beside chat completions: none uses more than it is bounded by."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain.bounds import IMAGE_BOUND
from chatapi.domain.completion_request import CompletionOverChat
from chatapi.domain.endpoints import ENDPOINTS
from chatapi.domain.model_request import ModelRequest, Upload
from chatapi.errors import InvalidRequest
from chatapi.upstream import tokens

TEXTS = st.text(max_size=200).map(lambda text: text.encode(errors="replace").decode())
INPUTS = st.one_of(
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=4),
    st.lists(st.integers(0, 200_000), min_size=1, max_size=50),
    st.lists(st.lists(st.integers(0, 200_000), min_size=1, max_size=9), min_size=1, max_size=4),
)


def asked(path: str, **body: Any) -> ModelRequest:
    return ENDPOINTS[f"/v1/{path}"].parse({"model": "gpt-4o", **body}, ())


def file(size: int, field: str = "file") -> Upload:
    return Upload(field, "a", "audio/wav", io.BytesIO(), size)


def with_files(path: str, *files: Upload, **body: Any) -> ModelRequest:
    return ENDPOINTS[f"/v1/{path}"].parse({"model": "whisper-1", **body}, files)


@given(INPUTS)
def test_no_input_has_more_tokens_than_its_bound(given_input: Any) -> None:
    for request in (asked("embeddings", input=given_input), asked("completions", prompt=given_input)):
        assert tokens.count_prompt("gpt-4o", request.prompt()) <= request.prompt_bound()


@given(st.lists(TEXTS, min_size=1, max_size=4), TEXTS)
def test_no_response_has_a_longer_prompt_than_its_bound(texts: list[str], instructions: str) -> None:
    items: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "input_text", "text": text} for text in texts]},
        {"type": "function_call", "name": "f", "arguments": texts[0], "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": texts[-1]},
    ]
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    for body in ({"input": texts[0]}, {"input": items, "tools": tools}):
        request = asked("responses", instructions=instructions, **body)
        assert tokens.count_prompt("gpt-4o", request.prompt()) <= request.prompt_bound()


@pytest.mark.parametrize("kind", [None, 1, [], {}, ["message"], "made-up"], ids=str)
def test_types_of_what_is_in_a_response_must_be_known(kind: Any) -> None:
    for body in (
        {"input": [{"type": kind, "role": "user", "content": "hello"}]},
        {"input": [{"role": "user", "content": [{"type": kind, "text": "hello"}]}]},
        {"input": "hello", "tools": [{"type": kind}]},
    ):
        with pytest.raises(InvalidRequest):
            asked("responses", **body)


@pytest.mark.parametrize("content", [None, "hello", []], ids=str)
def test_a_file_in_an_output_is_refused_whatever_stands_beside_it(content: Any) -> None:
    item = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "file-1"}]}
    for given_item in (item, {**item, "content": content}):
        with pytest.raises(InvalidRequest):
            asked("responses", input=[given_item])


def test_an_image_in_a_response_is_bounded_as_one_whatever_its_address() -> None:
    def image(address: str) -> ModelRequest:
        part = {"type": "input_image", "image_url": address, "detail": "high"}
        return asked("responses", input=[{"role": "user", "content": [part]}])

    short, long = image("https://x.example/a.png"), image("data:image/png;base64," + "A" * 50_000)
    assert IMAGE_BOUND < long.prompt_bound() == short.prompt_bound() < IMAGE_BOUND + 1000
    assert long.prompt().others > IMAGE_BOUND
    hiding = image("data:image/png;base64," + "words of a prompt! " * 1000)
    assert hiding.prompt_bound() > IMAGE_BOUND + 19_000


def test_ids_are_as_many_tokens_as_they_are() -> None:
    request = asked("embeddings", input=[[1, 2, 3], [4]])
    assert tokens.charged_prompt("gpt-4o", request.prompt()) == 4


def test_a_completion_is_held_for_every_choice_of_every_prompt() -> None:
    need = asked("completions", prompt=["a", "b", "c"], n=2, best_of=5, max_tokens=10).need(1024)
    assert (need.completion_wanted, need.choices) == (3 * 5 * 10, 15)
    assert asked("completions", prompt="a").need(1024).completion_wanted == 16  # OpenAI's own default


def test_a_completion_that_is_bounded_is_capped() -> None:
    assert asked("completions", prompt="a").upstream_body("m", 16)["max_tokens"] == 16
    assert asked("completions", prompt="a", max_tokens=9).upstream_body("m", 5)["max_tokens"] == 5
    assert "max_tokens" not in asked("completions", prompt="a").upstream_body("m", None)
    assert asked("responses", input="a").upstream_body("m", 20)["max_output_tokens"] == 20
    assert asked("responses", input="a", max_output_tokens=30).upstream_body("m", 20)["max_output_tokens"] == 20


@pytest.mark.parametrize(
    ("model", "tokens_of_one"),
    [("gpt-image-1", 6240), ("gpt-image-1-mini-2025-10-06", 6240), ("gpt-image-2", 131_626), ("dall-e-3", 0)],
)
def test_images_are_held_at_the_dearest_where_nothing_is_said(model: str, tokens_of_one: int) -> None:
    need = asked("images/generations", model=model, prompt="a", n=3).need(1024)
    wanted = 3 * (tokens_of_one + 1024) if tokens_of_one else 0
    assert (need.completion_wanted, need.completion_least) == (wanted, wanted)


@pytest.mark.parametrize(
    ("quality", "size", "expected"),
    [("low", "1024x1024", 272), ("medium", "1536x1024", 1568), ("high", "1024x1536", 6240), ("low", "auto", 408)],
)
def test_images_are_held_by_their_size_and_quality(quality: str, size: str, expected: int) -> None:
    request = asked("images/generations", model="gpt-image-1", prompt="a", quality=quality, size=size)
    assert request.completion_bound(0)[0] == expected + 1024
    partial = asked("images/generations", model="gpt-image-1", prompt="a", quality=quality, size=size, partial_images=2)
    assert partial.completion_bound(0)[0] == expected + 1024 + 200


def test_images_to_edit_are_bounded_each() -> None:
    files = (file(100, "image[]"), file(100, "image[]"), file(9, "mask"))
    request = with_files("images/edits", *files, model="gpt-image-1", prompt="a", n="2", stream="true")
    assert request.prompt_bound() >= 3 * IMAGE_BOUND
    assert (request.units, request.stream) == (2, True)
    with pytest.raises(InvalidRequest, match="image"):
        with_files("images/edits", file(9, "mask"), model="gpt-image-1", prompt="a")


def test_sound_is_held_by_its_size() -> None:
    request = with_files("audio/transcriptions", file(75_000), model="gpt-4o-transcribe")
    assert request.units == 100
    need = request.need(1024)
    assert need.prompt_bound >= 1000
    assert (need.completion_wanted, need.completion_least) == (1256, 1256)
    assert with_files("audio/transcriptions", file(75_000)).prompt_bound() < 200


def test_speech_is_held_by_its_text_and_its_slowness() -> None:
    slow = asked("audio/speech", model="gpt-4o-mini-tts", input="ä" * 10, speed=0.25)
    assert slow.completion_bound(0)[0] == 4 * (4 * 20 + 500)
    assert slow.units == 10
    assert asked("audio/speech", model="tts-1", input="hello").completion_bound(0) == (0, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("images/generations", {"prompt": "a"}),
        ("audio/speech", {"input": "a"}),
        ("responses", {"input": "a"}),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ],
)
def test_what_bounds_a_request_is_the_model_that_its_name_stands_for(path: str, body: dict[str, Any]) -> None:
    real = {"images/generations": "gpt-image-1", "audio/speech": "gpt-4o-mini-tts"}.get(path, "o3")
    request = asked(path, model="an-alias", **body)
    assert request.countable
    assert not request.at("compatible", real).countable
    assert request.at("compatible", "an-alias").countable


def test_a_completion_over_chat_is_asked_in_the_words_of_its_model() -> None:
    made = asked("completions", model="alias", prompt="a", temperature=0.5, best_of=2, n=2).at("openai", "o3")
    assert isinstance(made, CompletionOverChat)
    assert made.upstream_body("o3", None) == {
        "model": "o3", "messages": [{"role": "user", "content": "a"}], "n": 2, "max_completion_tokens": 16,
    }  # fmt: skip
    assert made.need(1024).completion_wanted == 32
    assert asked("completions", prompt=["a"], echo=True).at("compatible", "gpt-4o").form == "/v1/completions"
