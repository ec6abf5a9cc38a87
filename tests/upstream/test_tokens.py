"""Counting with the real vocabularies, which ship with the package."""

from __future__ import annotations

import time

import pytest

from chatapi.domain.bounds import prompt_bound_of
from chatapi.domain.chat_prompt import prompt_of
from chatapi.upstream import tokens

MESSAGES = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates jargon into plain English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
]


@pytest.mark.parametrize(
    ("model", "text", "count"),
    [
        ("gpt-4", "antidisestablishmentarianism", 6),  # the cookbook's own examples
        ("gpt-4o", "antidisestablishmentarianism", 6),
        ("gpt-3.5-turbo", "2 + 2 = 4", 7),
        ("gpt-4", "お誕生日おめでとう", 9),
        ("gpt-4o", "お誕生日おめでとう", 8),
        ("gpt-35-turbo", "お誕生日おめでとう", 9),
        ("ft:gpt-3.5-turbo-0125:ours::x", "お誕生日おめでとう", 9),
        ("openai/gpt-4o-mini", "お誕生日おめでとう", 8),
        ("some-new-model", "お誕生日おめでとう", 8),
        ("gpt-4.1-mini", "お誕生日おめでとう", 8),
        ("o3-mini", "お誕生日おめでとう", 8),
        ("gpt-4o", "", 0),
    ],
)
def test_text_is_counted_in_the_models_own_vocabulary(model: str, text: str, count: int) -> None:
    assert tokens.count_text(model, text) == count


def test_special_tokens_in_text_are_plain_text() -> None:
    assert tokens.count_text("gpt-4o", "<|endoftext|>") > 3


@pytest.mark.parametrize("character", ["a", " ", "\n", "=", "é", "中", "\U0001f600", "ab "])
def test_a_megabyte_of_one_character_is_counted_in_a_moment(character: str) -> None:
    tokens.count_text("gpt-4o", "")  # load
    began = time.process_time()
    count = tokens.count_text("gpt-4o", character * (1_000_000 // len(character)))
    assert 1000 < count <= 1_000_000 * len(character.encode())
    assert time.process_time() - began < 2


def test_cutting_text_into_pieces_adds_next_to_nothing() -> None:
    sentence = "The quick brown fox jumps over the lazy dog. "
    once = tokens.count_text("gpt-4o", sentence)
    assert 1000 * (once - 1) <= tokens.count_text("gpt-4o", sentence * 1000) <= 1000 * once * 1.01


def test_half_a_surrogate_pair_is_counted_without_a_crash() -> None:
    assert tokens.count_text("gpt-4o", "a\ud83d") >= 1


def test_a_prompt_is_bounded_by_its_count() -> None:
    body: dict[str, object] = {"model": "gpt-4", "messages": MESSAGES}
    measured = tokens.measure_prompt("gpt-4", body)
    assert measured < tokens.count_prompt("gpt-4", prompt_of(body)) <= measured + 16 + 4 * 3
    names = 2
    contents = sum(tokens.count_text("gpt-4", message["content"]) for message in MESSAGES)
    assert measured >= contents + 3 * 3 + 3 + names


def test_everything_that_the_model_reads_is_counted() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Tokyo"}'}}
    bodies: list[dict[str, object]] = [
        {"messages": []},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi there, you two"}]}]},
        {
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "x" * 99}}],
        },
        {"messages": [{"role": "assistant", "tool_calls": [call]}]},
        {"messages": [{"role": "user", "content": "hi"}], "response_format": {"json_schema": {"name": "word " * 99}}},
    ]
    counts = [tokens.measure_prompt("gpt-4o", body) for body in bodies]
    assert counts == sorted(counts)
    assert len(set(counts)) == len(counts)


def test_an_image_enters_the_bound_but_not_the_text() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]}
    assert tokens.measure_prompt("gpt-4o", body) < 20
    assert tokens.count_prompt("gpt-4o", prompt_of(body)) > 10_000


HIDING = "every word of this long text costs a token " * 100
DRESSED: list[dict[str, object]] = [
    {"role": "user", "content": "hi", "id": HIDING},
    {"role": "user", "content": "hi", "data": {"file": HIDING}},
    {"role": "user", "content": "hi", HIDING: 1},
    {"role": "user", "content": "hi", "type": "image_url", "image_url": HIDING},
    {"role": "user", "content": [{"type": "text", "text": "hi", "image_url": {"url": HIDING}}]},
    {"role": "user", "content": [{"type": "text", "text": "hi", "audio": HIDING}]},
    {"role": "assistant", "tool_calls": [{"id": HIDING, "type": "function", "function": {"name": "f"}}]},
    {"role": "tool", "content": "hi", "tool_call_id": HIDING},
]


@pytest.mark.parametrize("message", DRESSED)
def test_no_name_of_a_field_hides_text(message: dict[str, object]) -> None:
    body: dict[str, object] = {"model": "gpt-4o", "messages": [message]}
    hidden = tokens.count_text("gpt-4o", HIDING)
    assert tokens.measure_prompt("gpt-4o", body) >= hidden
    assert hidden <= tokens.count_prompt("gpt-4o", prompt_of(body)) <= prompt_bound_of(body)


@pytest.mark.parametrize("field", ["prediction", "documents", "data", "tools", "input"])
def test_no_field_of_the_body_hides_text(field: str) -> None:
    body: dict[str, object] = {"messages": MESSAGES, field: [{"type": "image_url", "image_url": {"url": HIDING}}]}
    assert tokens.count_prompt("gpt-4o", prompt_of(body)) >= tokens.count_text("gpt-4o", HIDING)


@pytest.mark.parametrize("most", [0, 1, 2, 5, 5000])
def test_text_is_cut_to_so_many_tokens(most: int) -> None:
    text = "お誕生日おめでとう, and many happy returns. " * 200
    cut = tokens.cut_text("gpt-4o", text, most)
    assert text.startswith(cut)
    assert tokens.count_text("gpt-4o", cut) <= most or cut == text


def test_only_known_models_have_a_vocabulary() -> None:
    assert tokens.has_vocabulary("gpt-4o-mini")
    assert tokens.has_vocabulary("ft:gpt-3.5-turbo:x")
    assert not tokens.has_vocabulary("llama-3.1-8b")


def test_a_missing_vocabulary_is_never_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "FILES", {"o200k_base": "not-there", "cl100k_base": "not-there"})
    tokens._load.cache_clear()
    try:
        with pytest.raises(FileNotFoundError):
            tokens.count_text("gpt-4o", "x")
    finally:
        tokens._load.cache_clear()
