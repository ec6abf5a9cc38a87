"""Whether a reply is what it must be. A reply that is not is broken, and the reason says why."""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from bench.emulator.replies import WORDS
from bench.emulator.script import read_script

_CONTENT = re.compile(rb'"content":\s*"((?:[^"\\]|\\.)*)"')
_FINISH = re.compile(rb'"finish_reason":\s*"(?:stop|length)"')
Judge = Callable[[int, bytes], str | None]


def expected_text(model: str, most_tokens: int | None) -> str | None:
    """What the emulator answers to this model's name; None for a model that is not its own."""
    if "emu" not in model.split("-"):
        return None
    script = read_script(model)
    words = script.events * script.words
    if most_tokens is not None:
        words = min(words, most_tokens)
    return "".join(WORDS[number % len(WORDS)] for number in range(words))


def judge_of(kind: str, expected: str | None) -> Judge:
    """The judge of a kind of replies: it takes a status and a body, and gives the reason if the reply is broken."""

    def plain(status: int, body: bytes) -> str | None:
        if status != 200:
            return f"status {status}"
        try:
            choice = orjson.loads(body)["choices"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            return "no completion"
        if expected is not None and choice["message"]["content"] != expected:
            return "another text"
        return None if choice["finish_reason"] in {"stop", "length"} else "no finish reason"

    def question(status: int, body: bytes) -> str | None:
        if status != 200:
            return f"status {status}"
        try:
            text = orjson.loads(body)["message"]
        except (ValueError, KeyError, TypeError):
            return "no answer"
        return "another text" if expected is not None and text != expected else None

    def stream(status: int, body: bytes) -> str | None:
        if status != 200:
            return f"status {status}"
        if expected is not None and b"".join(_CONTENT.findall(body)).decode() != expected:
            return "another text"
        if not _FINISH.search(body):
            return "no finish reason"
        return None if body.rstrip().endswith(b"data: [DONE]") else "no [DONE]"

    def static(status: int, body: bytes) -> str | None:
        return None if status == 200 and body else f"status {status}"

    return {"plain": plain, "question": question, "stream": stream, "static": static}[kind]


def events_in(body: bytes) -> int:
    """The events with text in a stream's body."""
    return sum(1 for text in _CONTENT.findall(body) if text)


def dechunked(body: bytes) -> bytes:
    """The body without HTTP's chunks.

    Raises:
        ValueError: where it is none, or is not whole.
    """
    parts: list[bytes] = []
    start = 0
    while True:
        end = body.index(b"\r\n", start)
        size = int(body[start:end].partition(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        start = end + 2
        if body[start + size : start + size + 2] != b"\r\n":
            raise ValueError("a chunk is not whole")
        parts.append(body[start : start + size])
        start += size + 2
