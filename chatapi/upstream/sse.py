"""Server-sent events, parsed, for what has to be read: the text for `/chat`, and what is counted. What is only relayed
is not parsed (`scanner`, which also makes whole events of what the network has cut).

Source: the WHATWG HTML standard, "Server-sent events" (lines end in CR, LF or CRLF, `:` begins a comment, a blank line
ends an event); what is inside an event is OpenAI's API reference, `chat.completion.chunk`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.produced import produced_text, shown_text

LARGEST_EVENT_BYTES = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """What one event of a stream says; `[DONE]` says nothing.

    Args:
        text: what choice 0 says here, content or refusal.
        counted_text: everything that the model produced here, in all choices: also tool calls and shown reasoning.
        began: the indices of the choices in this event.
        ended: the indices of the choices that have a finish reason in it.
        upstream_id: the upstream's own id of the answer.
    """

    text: str = ""
    counted_text: str = ""
    began: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    upstream_id: str | None = None


def events_in(block: bytes) -> Iterator[Event]:
    """The events of a block of whole ones, as `scanner` gives them, but for those that carry nothing.

    Raises:
        UpstreamBroken: an event is no JSON object; when its turn comes.
    """
    return (read_event(data) for data in payloads(block))


def payloads(block: bytes) -> Iterator[bytes]:
    """The payloads of a block's events."""
    return (data for event in block.split(b"\n\n") if (data := payload(event)).strip())


def payload(event: bytes) -> bytes:
    """What an event carries: its `data:` lines, of which most have one; `event` has LF between its lines only."""
    if event.startswith(b"data:") and b"\n" not in event:
        return event[6:] if event.startswith(b"data: ") else event[5:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def read_event(data: bytes) -> Event:
    """Read the payload of one event.

    Raises:
        UpstreamBroken: it is neither `[DONE]` nor a JSON object.
    """
    if data.strip() == DONE:
        return Event()
    try:
        chunk = json_text.loads(data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        raise UpstreamBroken("the upstream sent an event that is no JSON object", may_have_run=True)
    own_id = chunk.get("id")
    choices = [choice for choice in _list(chunk.get("choices")) if isinstance(choice, dict)]
    return Event(
        text="".join(shown_text(choice, "delta") for choice in choices if _index(choice) == 0),
        counted_text="".join(produced_text(choice, "delta") for choice in choices),
        began=frozenset(map(_index, choices)),
        ended=frozenset(_index(choice) for choice in choices if choice.get("finish_reason")),
        upstream_id=own_id if isinstance(own_id, str) else None,
    )


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
