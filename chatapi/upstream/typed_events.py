"""Streams whose events say what they are in a field `type`, and end with an event of a certain type: responses, images,
transcripts and speech. They are relayed as `scanner` relays those of chat completions.

Source: OpenAI's API reference, "Streaming events" of Responses, Images and Audio.
"""

from __future__ import annotations

import re
from typing import Any

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream.scanner import Scanner, is_named_error, loads
from chatapi.upstream.sse import DONE, Event

PLAIN = re.compile(rb"(?:(?:event:(?! ?error\n)[^\n]*+\n)?data: ?\{[^\n]*+(?<=\})\n\n)++")
LAST = frozenset({
    "response.completed", "response.incomplete", "response.failed", "transcript.text.done", "speech.audio.done",
})  # fmt: skip
"""The types of the events after which nothing comes."""
EACH = frozenset({"image_generation.completed", "image_edit.completed"})
"""Of those of which one comes for each image, with the usage of that image; then the stream just ends."""
MARK = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|transcript\.text\.done'
                  rb'|speech\.audio\.done|image_(?:generation|edit)\.completed|error)"'
                  rb'|"error"\s*+:\s*+(?!null\b)')  # fmt: skip


class TypedScanner(Scanner):
    """Takes bytes as they come and gives those that may be relayed. One instance a stream."""

    plain = PLAIN
    hint = b":"  # an error may lack its type
    mark = MARK
    ending = b""

    __slots__ = ("_ends", "_usages")

    def __init__(self) -> None:
        super().__init__(pass_usage=True)
        self._ends = 0
        self._usages: list[Usage | None] = []

    @property
    def may_end(self) -> bool:  # type: ignore[override]
        """Whether an image is there: how many there will be, only the end says."""
        return self._ends > 0

    def usage(self) -> Usage | None:
        """What was reported: of several images their sum; None if that of one is missing."""
        reported = [usage for usage in self._usages if usage is not None]
        if not reported or len(reported) < len(self._usages):
            return None
        first, *others = reported
        for usage in others:
            first = first.plus(usage)
        return first

    def _judge(self, event: bytes, data: bytes) -> bool:
        value = loads(data)
        if not value:
            self._break("an event that is no JSON object")
            return False
        return self._is_no_end(event, value)

    def _is_no_end(self, event: bytes, value: dict[str, Any]) -> bool:
        kind = value.get("type")
        if kind == "error" or is_named_error(event) or (value.get("error") and not isinstance(kind, str)):
            error = value.get("error") or value
            self.error = error if isinstance(error, dict) else {"message": str(error)}
            return False
        if kind in LAST or kind in EACH:
            response = value.get("response")
            said = response if isinstance(response, dict) else value
            self._usages.append(Usage.reported(said.get("usage"), service_tier=said.get("service_tier")))
            self._ends += kind in EACH
            self.done = kind in LAST
        return True


def read_typed_event(data: bytes) -> Event:
    """Read the payload of one event.

    Raises:
        UpstreamBroken: it is neither `[DONE]` nor a JSON object.
    """
    if data.strip() == DONE:
        return Event()
    value = loads(data)
    if not value:
        raise UpstreamBroken("the upstream sent an event that is no JSON object", may_have_run=True)
    response = value.get("response")
    own_id = response.get("id") if isinstance(response, dict) else None
    return Event(
        counted_text=_produced(value),
        ended=frozenset({0}) if value.get("type") in LAST else frozenset(),
        upstream_id=own_id if isinstance(own_id, str) else None,
    )


def _produced(value: dict[str, Any]) -> str:
    """What the model produced here: texts, arguments, reasoning come as deltas, names of functions with their item."""
    delta = value.get("delta")
    if isinstance(delta, str):
        return delta
    item = value.get("item")
    if value.get("type") == "response.output_item.added" and isinstance(item, dict):
        name = item.get("name")
        return name if isinstance(name, str) else ""
    return ""
