"""What the demo upstream answers: chat completions in OpenAI's shape, with real token counts."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatapi.upstream import tokens

LONGEST_ECHO = 4000
MOST_CHOICES = 128


class BadDemoRequest(Exception):
    """A request that OpenAI would refuse for its shape; `error` is the object that says why."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@dataclass(frozen=True)
class Answer:
    """One answer, ready to be sent whole or in chunks. `usage` is in OpenAI's shape."""

    answer_id: str
    created: int
    model: str
    text: str
    finish_reason: str
    choices: int
    usage: dict[str, object]

    def whole(self) -> dict[str, object]:
        """As a `chat.completion`."""
        message = {"role": "assistant", "content": self.text, "refusal": None}
        choices: list[dict[str, object]] = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
            for index in range(self.choices)
        ]
        return self._object("chat.completion", choices) | {"usage": self.usage}

    def chunks(self, *, include_usage: bool) -> Iterator[dict[str, object]]:
        """As `chat.completion.chunk`s, word by word."""
        deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": word}, None) for word in re.findall(r"\s*\S+|\s+$", self.text)]
        deltas += [({}, self.finish_reason)]
        for delta, finish_reason in deltas:
            for index in range(self.choices):
                choice: dict[str, object] = {
                    "index": index,
                    "delta": delta,
                    "logprobs": None,
                    "finish_reason": finish_reason,
                }
                yield self._object("chat.completion.chunk", [choice]) | ({"usage": None} if include_usage else {})
        if include_usage:
            yield self._object("chat.completion.chunk", []) | {"usage": self.usage}

    def _object(self, kind: str, choices: list[dict[str, object]]) -> dict[str, object]:
        return {"id": self.answer_id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def answer(body: object, answer_id: str) -> Answer:
    """Answer a chat completion's body.

    Raises:
        BadDemoRequest: the body is not what OpenAI's API reference asks for.
    """
    if not isinstance(body, dict):
        raise BadDemoRequest("The request body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadDemoRequest("you must provide a model parameter")
    question = _question(body.get("messages"))
    text = f"This is ChatAPI's demo upstream. You said: {question[:LONGEST_ECHO]}"
    cap = _positive(body, "max_completion_tokens") or _positive(body, "max_tokens")
    choices = _positive(body, "n") or 1
    if choices > MOST_CHOICES:
        raise BadDemoRequest(f"n must be at most {MOST_CHOICES}.", "n")
    finish_reason = "stop"
    completion_tokens = tokens.count_text(model, text)
    if cap is not None and completion_tokens > cap:
        text, completion_tokens, finish_reason = tokens.cut_text(model, text, cap), cap, "length"
    prompt_tokens = tokens.measure_prompt(model, body)
    completion_tokens *= choices
    usage: dict[str, object] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    return Answer(answer_id, int(time.time()), model, text, finish_reason, choices, usage)


def _question(messages: object) -> str:
    """What the user said last."""
    if not isinstance(messages, list) or not messages:
        raise BadDemoRequest("'messages' must be a list with at least one message.", "messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadDemoRequest(f"'messages[{index}]' must be an object with a role.", f"messages[{index}]")
    said = [_text(message.get("content")) for message in messages if message["role"] == "user"]
    return said[-1] if said else "nothing"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _positive(body: dict[str, Any], field: str) -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadDemoRequest(f"{field} must be a whole number above 0.", field)
    return value
