"""The prompt of a chat completion, in pieces: the texts that the model may read, and the parts that are no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from chatapi.domain.bounds import part_bound
from chatapi.domain.model_request import MARGIN_PER_BODY, Prompt

MESSAGE_TOKENS = 4
"""Three that frame a message and one for its role. Source: OpenAI's cookbook, "How to count tokens with tiktoken"."""
REPLY_TOKENS = 3
"""What primes the reply; the same source."""
MARGIN_PER_MESSAGE = 4
"""By which counting may be short for each message: the framing of newer models, tools and schemas is not published."""

TEXT_PARTS = frozenset({"text", "refusal"})
TEXT_FIELDS = frozenset({"content", "name", "refusal"})
"""Of a message; its other fields are counted as JSON, their names with them."""
NOT_READ = frozenset({
    "model", "messages", "stream", "stream_options", "n", "stop", "seed", "user", "metadata", "store", "logit_bias",
    "logprobs", "top_logprobs", "modalities", "audio", "reasoning_effort", "verbosity", "service_tier",
    "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "parallel_tool_calls", "tool_choice",
    "function_call",
})  # fmt: skip
"""The documented fields of a body that are no part of the prompt. All others are counted, also those unknown here."""


def prompt_of(body: Mapping[str, object]) -> Prompt:
    """The prompt of a chat completion's body.

    Raises:
        InvalidRequest: a part has no bound.
    """
    messages = messages_of(body)
    return Prompt(
        texts=tuple(_texts(body, messages)),
        tokens=framing_tokens(messages),
        others=bound_of_other_parts(body),
        margin=MARGIN_PER_BODY + MARGIN_PER_MESSAGE * len(messages),
    )


def texts_of(body: Mapping[str, object]) -> Iterator[str]:
    """Every text of the body that the model may read, but for the parts that are no text."""
    return _texts(body, messages_of(body))


def framing_tokens(messages: list[Any]) -> int:
    """The tokens that frame so many messages and prime the reply."""
    return MESSAGE_TOKENS * len(messages) + REPLY_TOKENS


def bound_of_other_parts(body: Mapping[str, object]) -> int:
    """The bound of the parts that are no text; 0 when there are none.

    Raises:
        InvalidRequest: a part has no bound.
    """
    return sum(part_bound(part) for part in _other_parts(messages_of(body)))


def messages_of(body: Mapping[str, object]) -> list[Any]:
    """The body's messages."""
    messages = body.get("messages")
    return messages if isinstance(messages, list) else []


def _texts(body: Mapping[str, object], messages: list[Any]) -> Iterator[str]:
    """Every text of the body that the model may read, but for the parts that are no text."""
    for message in messages:
        yield from _texts_of_message(message) if isinstance(message, dict) else (_json(message),)
    for name, value in body.items():
        if name not in NOT_READ and value is not None and not isinstance(value, int | float):
            yield value if isinstance(value, str) else _json(value)  # longer than what the model is shown of it


def _texts_of_message(message: dict[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if name == "content" and isinstance(value, list):
            yield from (text for part in value if _is_text(part) for text in _texts_of_part(part))
        elif name in TEXT_FIELDS and isinstance(value, str):
            yield value
        elif name != "role" and not (name in TEXT_FIELDS and value is None):  # the framing has the role
            yield _json({name: value})


def _texts_of_part(part: dict[str, Any]) -> Iterator[str]:
    for name, value in part.items():
        if name != "type":
            yield value if name in TEXT_PARTS and isinstance(value, str) else _json({name: value})


def _other_parts(messages: list[Any]) -> Iterator[object]:
    """The parts of messages that are no text."""
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        yield from (part for part in content if not _is_text(part)) if isinstance(content, list) else ()


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in TEXT_PARTS


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
