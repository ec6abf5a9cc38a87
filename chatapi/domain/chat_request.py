"""A chat completion as a client asks for it: its shape checked in OpenAI's words, and what metering needs of it.

Source: OpenAI's API reference, "Create chat completion". Only the fields that bound a call are looked at; everything
else goes to the upstream untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from chatapi.domain import chat_prompt
from chatapi.domain.bounds import LEAST_COMPLETION, prompt_bound_of
from chatapi.domain.fields import (
    boolean,
    empty,
    include_usage,
    integer,
    missing,
    model_of,
    unsupported,
    wrong_type,
    wrong_value,
)
from chatapi.domain.model_request import ModelRequest, Prompt
from chatapi.errors import InvalidRequest

MOST_CHOICES = 128
MOST_TOKENS = 100_000_000  # far beyond any model; keeps sums of holds within 64 bits
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "refusal", "image_url", "input_audio", "file")
CAPS = ("max_completion_tokens", "max_tokens", "n_predict", "num_predict", "max_new_tokens", "max_output_tokens")
"""OpenAI's two names, and those by which compatible servers let a cap be set as well, whichever of them wins there."""
CHOICES = ("n", "best_of")
REASONING_FIELDS = frozenset({"reasoning", "reasoning_effort", "thinking", "enable_thinking", "include_reasoning"})


@dataclass(frozen=True, slots=True)
class ChatRequest(ModelRequest):
    """A checked request."""

    form: ClassVar[str] = "/v1/chat/completions"

    @property
    def messages(self) -> list[object]:
        """The messages, as sent."""
        messages = self.body["messages"]
        return messages if isinstance(messages, list) else []

    @property
    def reasons(self) -> bool:
        """Whether the model may think in tokens that are never shown, so that a cut reply cannot be counted here."""
        return not REASONING_FIELDS.isdisjoint(self.body) or self.model_reasons

    def in_words_of_its_model(self) -> ChatRequest:
        """The same request, for clients that know only `max_tokens` and `temperature`: models that reason refuse a
        temperature, and know the cap by its newer name only."""
        if not self.reasons:
            return self
        body = {name: value for name, value in self.body.items() if name not in {"max_tokens", "temperature"}}
        return replace(self, body=body if self.cap is None else body | {"max_completion_tokens": self.cap})

    @property
    def countable(self) -> bool:
        """Not where the model may have thought unseen."""
        return not self.reasons

    def prompt_bound(self) -> int:
        """The bytes of all that is in the body, and the overhead of chat templates."""
        return prompt_bound_of(self.body)

    def prompt(self) -> Prompt:
        """Messages, tools and schemas."""
        return chat_prompt.prompt_of(self.body)

    def completion_bound(self, default_cap: int) -> tuple[int, int]:
        """The cap of each choice; a few tokens of each are worth asking for."""
        wanted = self.cap if self.cap is not None else default_cap
        return self.choices * wanted, self.choices * min(wanted, LEAST_COMPLETION)

    def upstream_body(self, model: str, completion_per_choice: int | None) -> dict[str, object]:
        """The body to send: the model resolved, the completion capped if a number is given, usage always asked for."""
        body = dict(self.body) | {"model": model}
        if completion_per_choice is not None:
            given = {name: cap for name in CAPS if isinstance(cap := body.get(name), int)}
            default = {"max_completion_tokens" if self.reasons else "max_tokens": completion_per_choice}
            body |= {name: min(cap, completion_per_choice) for name, cap in (given or default).items()}
        if self.stream:
            options = self.body.get("stream_options")
            body["stream_options"] = (options if isinstance(options, dict) else {}) | {"include_usage": True}
        return body


def parse(body: Mapping[str, object]) -> ChatRequest:
    """Check what OpenAI would refuse for its shape.

    Raises:
        InvalidRequest: in OpenAI's words, naming the parameter.
    """
    model = model_of(body)
    _check_messages(body)
    stream = boolean(body, "stream")
    if "chat_template" in body:
        raise unsupported("chat_template", "The tokens that it makes cannot be bounded before the call.")
    choices = max(integer(body, name, 1, MOST_CHOICES) or 1 for name in CHOICES)
    caps = [cap for cap in (integer(body, name, 1, MOST_TOKENS) for name in CAPS) if cap is not None]
    return ChatRequest(body, model, bool(stream), include_usage(body), choices, max(caps, default=None))


def _check_messages(body: Mapping[str, object]) -> None:
    messages = body.get("messages")
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise empty("messages")
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise wrong_type(where, "an object", message)
        if "role" not in message:
            raise missing(f"{where}.role")
        if message["role"] not in ROLES:
            raise wrong_value(f"{where}.role", ROLES)
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise wrong_type(f"{where}.content", "a string or an array of content parts", content)
        _check_parts(content, where)
        if message.get("audio") is not None:
            problem = "Audio of earlier replies is not supported: its tokens cannot be bounded before the call."
            raise InvalidRequest(problem, param=f"{where}.audio", code="unsupported_value")
        if content is None and message["role"] not in {"assistant", "function"}:
            raise missing(f"{where}.content")


def _check_parts(content: object, where: str) -> None:
    for position, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            raise wrong_type(f"{where}.content[{position}]", "an object", part)
        if part.get("type") not in PARTS:
            raise wrong_value(f"{where}.content[{position}].type", PARTS)
