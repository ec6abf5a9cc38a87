"""A response as a client asks for it. Source: OpenAI's API reference, "Create a model response".

What the upstream would add to the prompt from what it keeps (`previous_response_id`, conversations, stored prompts,
items by their id) cannot be bounded before the call, and might be another user's: an account is shared by all users of
an installation. So it is refused, as are the tools that the upstream runs itself, for what they read is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from chatapi.domain.bounds import (
    CALL_OVERHEAD,
    LEAST_COMPLETION,
    MESSAGE_OVERHEAD,
    TOOLS_OVERHEAD,
    bytes_of,
    bytes_of_fields,
    bytes_when_rendered,
    image_bound,
)
from chatapi.domain.chat_request import CAPS, MOST_TOKENS, REASONING_FIELDS
from chatapi.domain.fields import boolean, empty, integer, missing, model_of, unsupported, wrong_type
from chatapi.domain.model_request import MARGIN_PER_BODY, ModelRequest, Prompt
from chatapi.errors import InvalidRequest

ITEM_TOKENS = 4  # that frame an item of the input; as those of a message
MARGIN_PER_ITEM = 4
KEPT_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background", "context_management", "moderation")
REASON_KEPT = "What it adds to the prompt cannot be bounded before the call; send the whole input."
TOOLS = frozenset({"function", "custom"})
MESSAGE_PARTS = frozenset({"input_text", "output_text", "input_image", "refusal"})
ITEMS = frozenset({
    "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output", "reasoning",
})  # fmt: skip
RENDERED = frozenset({"tools", "text"})
NOT_READ = frozenset({
    "model", "input", "stream", "stream_options", "store", "include", "metadata", "user", "temperature", "top_p",
    "top_logprobs", "truncation", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls", "tool_choice", "reasoning", *CAPS,
})  # fmt: skip
"""The documented fields of a body that are no part of the prompt."""


@dataclass(frozen=True, slots=True)
class ResponseRequest(ModelRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/responses"

    @property
    def countable(self) -> bool:
        """Not where the model may have thought unseen."""
        return REASONING_FIELDS.isdisjoint(self.body) and not self.model_reasons

    def prompt_bound(self) -> int:
        """The bytes of all that is in the body, images at their bound, and what frames items and tools."""
        items = _items(self.body)
        overhead = CALL_OVERHEAD + MESSAGE_OVERHEAD * len(items) + (TOOLS_OVERHEAD if self.body.get("tools") else 0)
        others = sum(
            bytes_when_rendered(value) if name in RENDERED else bytes_of(value)
            for name, value in self.body.items()
            if name != "input"
        )
        return overhead + others + sum(_bound_of(item) for item in items)

    def prompt(self) -> Prompt:
        """Instructions, the texts of the input, tools and schemas; images at their bound."""
        items = _items(self.body)
        texts = [text for item in items for text in _texts_of(item)]
        for name, value in self.body.items():
            if name not in NOT_READ and value is not None:
                texts.append(value if isinstance(value, str) else _json(value))
        others = sum(image_bound(part, "image_url") for item in items for part in _parts(item) if _is_image(part))
        margin = MARGIN_PER_BODY + MARGIN_PER_ITEM * len(items)
        return Prompt(tuple(texts), ITEM_TOKENS * len(items) + ITEM_TOKENS, others, margin)

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The cap; a few tokens are worth asking for."""
        wanted = self.cap if self.cap is not None else default_cap
        return wanted, min(wanted, LEAST_COMPLETION)

    def upstream_body(self, model: str, completion_per_choice: int | None) -> dict[str, object]:
        """The body to send: the model resolved, the completion capped if a number is given."""
        body = dict(self.body) | {"model": model}
        if completion_per_choice is not None:
            given = {name: cap for name in CAPS if isinstance(cap := body.get(name), int)}
            caps = given or {"max_output_tokens": completion_per_choice}
            body |= {name: min(cap, completion_per_choice) for name, cap in caps.items()}
        return body


def parse(body: Mapping[str, object]) -> ResponseRequest:
    """Check what OpenAI would refuse for its shape, and what nothing can bound.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = model_of(body)
    for name in KEPT_ELSEWHERE:
        if body.get(name):
            raise unsupported(name, REASON_KEPT)
    _check_input(body)
    _check_tools(body)
    stream = boolean(body, "stream")
    caps = [cap for cap in (integer(body, name, 1, MOST_TOKENS) for name in CAPS) if cap is not None]
    return ResponseRequest(body, model, bool(stream), cap=max(caps, default=None))


def _check_input(body: Mapping[str, object]) -> None:
    given = body.get("input")
    if given is None:
        raise missing("input")
    if not isinstance(given, str | list):
        raise wrong_type("input", "a string or an array of input items", given)
    if not given and isinstance(given, list):
        raise empty("input")
    for position, item in enumerate(_items(body)):
        where = f"input[{position}]"
        if not isinstance(item, dict):
            raise wrong_type(where, "an object", item)
        kind = item.get("type", "message" if "role" in item else None)
        if not _is_one_of(kind, ITEMS):
            raise unsupported(f"{where}.type", "Items that the upstream keeps or makes itself cannot be bounded.")
        if kind == "reasoning" and not item.get("encrypted_content"):
            raise unsupported(
                where,
                "Reasoning that the upstream keeps cannot be bounded before the call; ask for it with include: "
                "['reasoning.encrypted_content'], and send it back whole.",
            )
        if "content" in item and "output" in item:
            raise unsupported(f"{where}.output", "An item has content or an output.")
        for number, part in enumerate(_parts(item)):
            _check_part(part, f"{where}.{'content' if 'content' in item else 'output'}[{number}]")


def _check_part(part: object, where: str) -> None:
    if not isinstance(part, dict):
        raise wrong_type(where, "an object", part)
    if part.get("type") in ("reasoning_text", "summary_text"):
        return
    if not _is_one_of(part.get("type"), MESSAGE_PARTS) or part.get("file_id") is not None:
        raise unsupported(f"{where}.type", "Files, and what the upstream keeps, cannot be bounded before the call.")


def _check_tools(body: Mapping[str, object]) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    for position, tool in enumerate(tools or ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not _is_one_of(kind, TOOLS):
            problem = (
                f"Unsupported value: 'tools[{position}].type' does not support {_json(kind)} here. What tools read that"
                " the upstream runs cannot be bounded before the call. Supported values are: 'function' and 'custom'."
            )
            raise InvalidRequest(problem, param=f"tools[{position}].type", code="unsupported_value")


def _is_one_of(kind: object, words: frozenset[str]) -> bool:
    return isinstance(kind, str) and kind in words


def _items(body: Mapping[str, object]) -> list[Any]:
    given = body.get("input")
    return given if isinstance(given, list) else [{"role": "user", "content": given}]


def _parts(item: Mapping[str, Any]) -> list[Any]:
    """The parts of a message, or of a function's output."""
    parts = item.get("content", item.get("output"))
    return parts if isinstance(parts, list) else []


def _is_image(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "input_image"


def _bound_of(item: Mapping[str, Any]) -> int:
    parts = _parts(item)
    if not parts:
        return bytes_of_fields(item)
    rest = {name: value for name, value in item.items() if value is not parts}
    return bytes_of_fields(rest) + sum(
        image_bound(part, "image_url") if _is_image(part) else bytes_of_fields(part) for part in parts
    )


def _texts_of(item: Mapping[str, Any]) -> Iterator[str]:
    content = item.get("content", item.get("output"))
    if item.get("type", "message") == "message" and isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (_json(part) if "text" not in part else str(part["text"]) for part in content if not _is_image(part))
        rest = {name: value for name, value in item.items() if value is not content}
        if item.get("type", "message") != "message":
            yield _json(rest)
    else:
        yield _json(item)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
