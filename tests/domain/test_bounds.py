"""The bound of a call: from above, from its body alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatapi.domain import chat_request
from chatapi.domain.bounds import IMAGE_BOUND, TOOLS_OVERHEAD, prompt_bound_of
from chatapi.domain.chat_prompt import prompt_of
from chatapi.errors import InvalidRequest
from chatapi.upstream import tokens

MESSAGE = {"role": "user", "content": "hello"}


def body(**more: object) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [MESSAGE], **more}


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_no_prompt_has_more_tokens_than_its_bound(texts: list[str]) -> None:
    asked = body(messages=[{"role": "user", "content": text.encode(errors="replace").decode()} for text in texts])
    assert tokens.count_prompt("gpt-4o-mini", prompt_of(asked)) <= prompt_bound_of(asked)
    assert tokens.count_prompt("gpt-4", prompt_of(asked)) <= prompt_bound_of(asked)


def test_the_text_of_tools_and_schemas_counts() -> None:
    tool = {"type": "function", "function": {"name": "f" * 50, "description": "d" * 500, "parameters": {}}}
    assert prompt_bound_of(body(tools=[tool])) >= prompt_bound_of(body()) + 550 + TOOLS_OVERHEAD
    schema = {"type": "json_schema", "json_schema": {"schema": {"title": "t" * 300}}}
    assert prompt_bound_of(body(response_format=schema)) >= prompt_bound_of(body()) + 300


def test_an_image_is_bounded_by_a_table_and_not_by_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    bound = prompt_bound_of(body(messages=[{"role": "user", "content": [image]}]))
    assert IMAGE_BOUND <= bound < IMAGE_BOUND + 1000


IMAGE = {"url": "data:image/png;base64,AAAA", "detail": "low"}
DATA = "data:image/png,"
PROMPT = "every byte of this text may be a token " * 5000
MASKED: list[dict[str, object]] = [
    {"messages": [{"role": "user", "content": PROMPT, "type": "image_url", "image_url": IMAGE}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": IMAGE, "text": PROMPT}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {**IMAGE, "alt": PROMPT}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PROMPT}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PROMPT}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"https://x/{PROMPT}"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA + PROMPT}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}, "text": PROMPT}]}]},
    {"messages": [MESSAGE], "tools": [{"type": "image_url", "image_url": IMAGE, "function": {"description": PROMPT}}]},
    {"messages": [MESSAGE], "tools": [{"type": "input_audio", "input_audio": {}, "function": {"description": PROMPT}}]},
    {"messages": [MESSAGE], "prediction": {"type": "image_url", "image_url": IMAGE, "content": PROMPT}},
    {"messages": {"type": "image_url", "image_url": IMAGE, "content": PROMPT}},
]  # fmt: skip


@pytest.mark.parametrize("masked", MASKED)
def test_text_that_is_dressed_as_a_part_is_still_text(masked: dict[str, object]) -> None:
    assert prompt_bound_of(masked) >= len(PROMPT)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8"), max_size=30),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_all_text_of_any_value_is_within_the_bound(value: object) -> None:
    def text_of(part: object) -> int:
        if isinstance(part, dict):
            return sum(len(name.encode()) + text_of(item) for name, item in part.items())
        if isinstance(part, list):
            return sum(text_of(item) for item in part)
        return len(part.encode()) if isinstance(part, str) else 0

    whole = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "more": value}]}], "tools": value}
    assert prompt_bound_of(whole) >= 2 * text_of(value)


def test_audio_is_bounded_by_its_bytes() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 5000, "format": "wav"}}
    assert prompt_bound_of(body(messages=[{"role": "user", "content": [audio]}])) >= 5000


def test_a_file_cannot_be_bounded_and_is_refused() -> None:
    part = {"type": "file", "file": {"file_id": "file-1"}}
    with pytest.raises(InvalidRequest, match="cannot be bounded"):
        prompt_bound_of(body(messages=[{"role": "user", "content": [part]}]))


def test_a_schema_that_speaks_of_files_is_no_file() -> None:
    schema = {"type": "object", "properties": {"type": {"const": "file"}, "file": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    assert prompt_bound_of(body(tools=[tool])) > 0


@pytest.mark.parametrize(
    ("asked", "wanted", "least"),
    [
        ({}, 1024, 16),
        ({"max_tokens": 50}, 50, 16),
        ({"max_completion_tokens": 5}, 5, 5),
        ({"max_tokens": 50, "max_completion_tokens": 70}, 70, 16),
        ({"max_tokens": 50, "n": 3}, 150, 48),
        ({"n": 2}, 2048, 32),
    ],
)
def test_the_completion_is_what_was_asked_for_or_the_default_for_every_choice(
    asked: dict[str, object], wanted: int, least: int
) -> None:
    need = chat_request.parse(body(**asked)).need(1024)
    assert (need.completion_wanted, need.completion_least) == (wanted, least)


def test_the_cap_is_sent_under_the_name_that_the_client_used() -> None:
    def sent(**asked: object) -> dict[str, object]:
        return chat_request.parse(body(**asked)).upstream_body("m", 9)

    assert sent(max_tokens=50)["max_tokens"] == 9
    assert sent(max_completion_tokens=50)["max_completion_tokens"] == 9
    assert "max_tokens" not in sent(max_completion_tokens=50)
    assert sent()["max_tokens"] == 9
    assert sent(model="o3-mini")["max_completion_tokens"] == 9


def test_what_nobody_knows_goes_through_and_usage_is_always_asked_for() -> None:
    asked = body(stream=True, brand_new=[1, {"x": None}], stream_options={"include_obfuscation": False})
    sent = chat_request.parse(asked).upstream_body("other", None)
    assert sent["brand_new"] == [1, {"x": None}]
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert sent["model"] == "other"
    assert "max_tokens" not in sent
