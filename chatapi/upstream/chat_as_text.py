"""Replies of chat completions made those of completions, for who asked a model that only chats for one.

Source: OpenAI's API reference, `text_completion`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from chatapi.upstream.produced import Part, choices_of, shown_text
from chatapi.upstream.scanner import loads
from chatapi.upstream.sse import DONE, DONE_EVENT, payloads
from chatapi.upstream.stream import UpstreamStream

KEPT = ("id", "created", "model", "system_fingerprint", "usage")


def completion_of(chat: dict[str, Any]) -> bytes:
    """A whole chat completion as a completion."""
    return orjson.dumps(_completion(chat, "message"))


class TextStream(UpstreamStream):
    """A stream of a chat, each event made one of a completion; those that say nothing there are left out."""

    __slots__ = ()

    def __iter__(self) -> Iterator[bytes]:
        """As `UpstreamStream`."""
        for block in self._blocks:
            made = b"".join(_events(block))
            if made or self.done:
                yield made


def _events(block: bytes) -> Iterator[bytes]:
    for data in payloads(block):
        if data.strip() == DONE:
            yield DONE_EVENT
            continue
        chat = loads(data)
        said = any(shown_text(choice, "delta") or choice.get("finish_reason") for choice in choices_of(chat))
        if said or chat.get("usage"):
            yield b"data: " + orjson.dumps(_completion(chat, "delta")) + b"\n\n"


def _completion(chat: dict[str, Any], part: Part) -> dict[str, Any]:
    choices = [
        {
            "text": shown_text(choice, part),
            "index": choice.get("index", 0),
            "logprobs": None,
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in choices_of(chat)
    ]
    return {"object": "text_completion", **{name: chat[name] for name in KEPT if name in chat}, "choices": choices}
