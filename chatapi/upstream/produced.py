"""What a model produced, out of one choice of a reply (`message`) or of a stream's event (`delta`).

Source: OpenAI's API reference, `chat.completion` and `chat.completion.chunk`; `reasoning_content` and `reasoning` are
what compatible servers (vLLM, llama.cpp, OpenRouter) show of a model's reasoning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

Part = Literal["message", "delta"]


def choices_of(reply: dict[str, Any]) -> list[dict[str, Any]]:
    """The choices of a reply; of none an empty list."""
    choices = reply.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def produced_by_choices(reply: dict[str, Any]) -> str:
    """Everything in a chat completion, or a completion, that cost completion tokens and can be read here."""
    return "".join(produced_text(choice, "message") for choice in choices_of(reply))


def produced_by_output(reply: dict[str, Any]) -> str:
    """The same of a response: what its messages say, its reasoning as far as it is shown, and its calls of tools."""
    output = reply.get("output")
    items = [_mapping(item) for item in output] if isinstance(output, list) else []
    return "".join(text for item in items for text in _said_by(item))


def text_of(reply: dict[str, Any]) -> str:
    """What a transcription says."""
    return _text(reply.get("text"))


def shown_text(choice: dict[str, Any], part: Part) -> str:
    """What the choice says to a reader: its content, or its refusal."""
    said = _mapping(choice.get(part))
    return _content(said.get("content")) + _text(said.get("refusal")) + _text(choice.get("text"))


def produced_text(choice: dict[str, Any], part: Part) -> str:
    """Everything in the choice that cost completion tokens and can be read here."""
    said = _mapping(choice.get(part))
    reasoning = _text(said.get("reasoning_content")) or _text(said.get("reasoning"))  # the same text under two names
    spoken = _text(_mapping(said.get("audio")).get("transcript"))
    return shown_text(choice, part) + reasoning + "".join(_calls(said)) + spoken


def _calls(said: dict[str, Any]) -> Iterator[str]:
    tool_calls = said.get("tool_calls")
    calls = [_mapping(call) for call in tool_calls] if isinstance(tool_calls, list) else []
    for called in [said.get("function_call"), *(call.get(kind) for call in calls for kind in ("function", "custom"))]:
        fields = _mapping(called)
        yield from (_text(fields.get(field)) for field in ("name", "arguments", "input"))


def _said_by(item: dict[str, Any]) -> Iterator[str]:
    for parts in (item.get("content"), item.get("summary")):
        for part in parts if isinstance(parts, list) else ():
            yield _text(_mapping(part).get("text")) + _text(_mapping(part).get("refusal"))
    yield from (_text(item.get(field)) for field in ("name", "arguments", "input"))


def _content(content: object) -> str:
    """Content is a text, or a list of parts that may have one."""
    if isinstance(content, list):
        return "".join(_text(_mapping(part).get("text")) for part in content)
    return _text(content)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
