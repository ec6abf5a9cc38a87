"""A whole reply, and what the rest of the house needs to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatapi.domain.extras import NOTHING_ELSE, Extras
from chatapi.domain.usage import Usage
from chatapi.upstream.produced import choices_of, shown_text

Produced = Callable[[dict[str, Any]], str]


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply.

    Args:
        body: the bytes as they came.
        content_type: their media type.
        value: the JSON, decoded; empty where the reply is none.
        usage: the usage it reports; None when there is none or it makes no sense.
        upstream_id: the upstream's own id of the request or, failing that, of the reply.
        produced: reads everything that the model produced out of `value`.
        extras: what a reply without a report of tokens says of what else it used: seconds of sound.
    """

    body: bytes
    content_type: str
    value: dict[str, Any]
    usage: Usage | None
    upstream_id: str | None
    produced: Produced
    extras: Extras = NOTHING_ELSE

    @property
    def text(self) -> str:
        """What choice 0 says: its content, or its refusal."""
        return shown_text(choices_of(self.value)[0], "message")

    @property
    def counted_text(self) -> str:
        """Everything that the model produced, in all choices: also tool calls and shown reasoning."""
        return self.produced(self.value)
