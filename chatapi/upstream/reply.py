"""A whole reply, and what the rest of the house needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chatapi.domain.usage import Usage
from chatapi.upstream.produced import produced_text, shown_text


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply.

    Args:
        body: the JSON as it came.
        choices: its choices, decoded; at least one.
        usage: the usage it reports; None when there is none or it makes no sense.
        upstream_id: the upstream's own id of the request or, failing that, of the reply.
    """

    body: bytes
    choices: list[dict[str, Any]]
    usage: Usage | None
    upstream_id: str | None

    @property
    def text(self) -> str:
        """What choice 0 says: its content, or its refusal."""
        return shown_text(self.choices[0], "message")

    @property
    def counted_text(self) -> str:
        """Everything that the model produced, in all choices: also tool calls and shown reasoning."""
        return "".join(produced_text(choice, "message") for choice in self.choices)
