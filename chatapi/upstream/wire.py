"""Chat completions over the wire, through the openai client. Importing this imports openai, which is slow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.clients import build_client
from chatapi.upstream.exchange import Exchange, send
from chatapi.upstream.produced import produced_text, shown_text
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.said import stream_error
from chatapi.upstream.stream import UpstreamStream
from chatapi.upstream.targets import Target
from chatapi.upstream.ticket import Ticket

LARGEST_REPLY_BYTES = 64 * 1024 * 1024
WHOLE_MEDIA_TYPES = {"application/json", "text/html"}


class Wire:
    """The connection to one upstream: its client and the pool of connections within."""

    def __init__(self, target: Target) -> None:
        self._timeouts = target.timeouts
        self._client = build_client(target)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def complete(self, body: Mapping[str, object], call_id: str, ticket: Ticket) -> UpstreamReply:
        """Make a plain chat completion.

        Raises:
            UpstreamError: saying what went wrong and whether the model may have run.
        """
        whole = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        exchange = send(self._client, self._timeouts, whole, call_id, ticket)
        return _reply(_read_object(exchange), exchange.upstream_id)

    def open(self, body: Mapping[str, object], call_id: str, ticket: Ticket) -> UpstreamStream:
        """Open a streamed chat completion.

        Raises:
            UpstreamError: as above.
        """
        exchange = send(self._client, self._timeouts, {**body, "stream": True}, call_id, ticket)
        if exchange.content_type in WHOLE_MEDIA_TYPES:
            _read_object(exchange)  # raises if it says what went wrong
            raise UpstreamBroken("the upstream did not answer with a stream", may_have_run=True)
        return UpstreamStream(exchange)


def _read_object(exchange: Exchange) -> dict[str, Any]:
    """Read a whole answer, which must be a JSON object and no error."""
    parts: list[bytes] = []
    size = 0
    try:
        for part in exchange.chunks():
            parts.append(part)
            size += len(part)
            if size > LARGEST_REPLY_BYTES:
                raise UpstreamBroken("the upstream sent a reply that is too large", may_have_run=True)
    finally:
        exchange.close()
    try:
        value = json_text.loads(b"".join(parts))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UpstreamBroken("the upstream sent a reply that is no JSON object", may_have_run=True)
    if value.get("error"):
        raise stream_error(value, exchange.key)
    return value


def _reply(body: dict[str, Any], upstream_id: str | None) -> UpstreamReply:
    choices = body.get("choices")
    choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if not choices:
        raise UpstreamBroken("the upstream sent a reply without choices", may_have_run=True)
    own_id = body.get("id")
    return UpstreamReply(
        body=body,
        usage=Usage.reported(body.get("usage")),
        upstream_id=upstream_id or (own_id if isinstance(own_id, str) else None),
        text=shown_text(choices[0], "message"),
        counted_text="".join(produced_text(choice, "message") for choice in choices),
    )
