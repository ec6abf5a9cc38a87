"""A chat completion as a client asks for it: its shape checked in OpenAI's words, and what metering needs of it.

Source: OpenAI's API reference, "Create chat completion". Only the fields that bound a call are looked at; everything
else goes to the upstream untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from chatapi.domain import model_names
from chatapi.errors import InvalidRequest

MOST_CHOICES = 128
LONGEST_MODEL_NAME = 256
MOST_TOKENS = 100_000_000  # far beyond any model; keeps sums of holds within 64 bits
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "refusal", "image_url", "input_audio", "file")
CAPS = ("max_completion_tokens", "max_tokens", "n_predict", "num_predict", "max_new_tokens", "max_output_tokens")
"""OpenAI's two names, and those by which compatible servers let a cap be set as well, whichever of them wins there."""
CHOICES = ("n", "best_of")
REASONING_FIELDS = frozenset({"reasoning", "reasoning_effort", "thinking", "enable_thinking", "include_reasoning"})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A checked request. `body` is what the client sent; `cap` its completion cap, in tokens per choice, if any."""

    body: Mapping[str, object]
    model: str
    stream: bool
    include_usage: bool
    choices: int
    cap: int | None

    @property
    def messages(self) -> list[object]:
        """The messages, as sent."""
        messages = self.body["messages"]
        return messages if isinstance(messages, list) else []

    @property
    def reasons(self) -> bool:
        """Whether the model may think in tokens that are never shown, so that a cut reply cannot be counted here."""
        return not REASONING_FIELDS.isdisjoint(self.body) or model_names.reasons(self.model)

    def in_words_of_its_model(self) -> ChatRequest:
        """The same request, for clients that know only `max_tokens` and `temperature`: models that reason refuse a
        temperature, and know the cap by its newer name only."""
        if not self.reasons:
            return self
        body = {name: value for name, value in self.body.items() if name not in {"max_tokens", "temperature"}}
        return replace(self, body=body if self.cap is None else body | {"max_completion_tokens": self.cap})

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
    model = body.get("model")
    if model is None or model == "":
        raise InvalidRequest("you must provide a model parameter")
    if not isinstance(model, str):
        raise _wrong_type("model", "a string", model)
    if len(model) > LONGEST_MODEL_NAME or not model.isprintable():
        raise InvalidRequest(
            "Invalid 'model': this cannot be the name of a model.", param="model", code="invalid_value"
        )
    _check_messages(body)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong_type("stream", "a boolean", stream)
    if "chat_template" in body:
        problem = "Unsupported parameter: 'chat_template'. The tokens that it makes cannot be bounded before the call."
        raise InvalidRequest(problem, param="chat_template", code="unsupported_parameter")
    choices = max(_integer(body, name, 1, MOST_CHOICES) or 1 for name in CHOICES)
    caps = [cap for cap in (_integer(body, name, 1, MOST_TOKENS) for name in CAPS) if cap is not None]
    return ChatRequest(body, model, bool(stream), _include_usage(body), choices, max(caps, default=None))


def _check_messages(body: Mapping[str, object]) -> None:
    messages = body.get("messages")
    if messages is None:
        raise InvalidRequest(
            "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not isinstance(messages, list):
        raise _wrong_type("messages", "an array of objects", messages)
    if not messages:
        problem = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead."
        )
        raise InvalidRequest(problem, param="messages", code="empty_array")
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if not isinstance(message, dict):
            raise _wrong_type(where, "an object", message)
        if "role" not in message:
            raise InvalidRequest(
                f"Missing required parameter: '{where}.role'.", param=f"{where}.role", code="missing_required_parameter"
            )
        if message["role"] not in ROLES:
            supported = ", ".join(f"'{role}'" for role in ROLES)
            problem = f"Invalid value for '{where}.role'. Supported values are: {supported}."
            raise InvalidRequest(problem, param=f"{where}.role", code="invalid_value")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise _wrong_type(f"{where}.content", "a string or an array of content parts", content)
        _check_parts(content, where)
        if message.get("audio") is not None:
            problem = "Audio of earlier replies is not supported: its tokens cannot be bounded before the call."
            raise InvalidRequest(problem, param=f"{where}.audio", code="unsupported_value")
        if content is None and message["role"] not in {"assistant", "function"}:
            raise InvalidRequest(
                f"Missing required parameter: '{where}.content'.",
                param=f"{where}.content",
                code="missing_required_parameter",
            )


def _check_parts(content: object, where: str) -> None:
    for position, part in enumerate(content if isinstance(content, list) else ()):
        if not isinstance(part, dict):
            raise _wrong_type(f"{where}.content[{position}]", "an object", part)
        if part.get("type") not in PARTS:
            supported = ", ".join(f"'{kind}'" for kind in PARTS)
            problem = f"Invalid value for '{where}.content[{position}].type'. Supported values are: {supported}."
            raise InvalidRequest(problem, param=f"{where}.content[{position}].type", code="invalid_value")


def _include_usage(body: Mapping[str, object]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object", options)
    if not body.get("stream"):
        problem = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise InvalidRequest(problem, param="stream_options")
    include_usage = options.get("include_usage")
    if include_usage is not None and not isinstance(include_usage, bool):
        raise _wrong_type("stream_options.include_usage", "a boolean", include_usage)
    return include_usage is True


def _integer(body: Mapping[str, object], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an integer", value)
    if value < least:
        problem = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        )
        raise InvalidRequest(problem, param=name, code="integer_below_min_value")
    if value > most:
        problem = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise InvalidRequest(problem, param=name, code="integer_above_max_value")
    return value


def _wrong_type(where: str, expected: str, got: object) -> InvalidRequest:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
    }
    problem = f"Invalid type for '{where}': expected {expected}, but got {names.get(type(got), 'null')} instead."
    return InvalidRequest(problem, param=where, code="invalid_type")
