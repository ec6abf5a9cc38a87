"""A whole reply, and what the rest of the house needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """A whole reply.

    Args:
        body: the decoded JSON, with every field that the upstream sent.
        usage: the usage it reports; None when there is none or it makes no sense.
        upstream_id: the upstream's own id of the request or, failing that, of the reply.
        text: what choice 0 says: its content, or its refusal.
        counted_text: everything that the model produced, in all choices: also tool calls and shown reasoning.
    """

    body: dict[str, object]
    usage: Usage | None
    upstream_id: str | None
    text: str
    counted_text: str
