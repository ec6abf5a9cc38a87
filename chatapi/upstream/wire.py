"""Chat completions over the wire. Two ways up: the openai client's, and the relay's; what comes back is read alike.

Importing this imports openai, which is slow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.asking import ask
from chatapi.upstream.clients import build_client, build_transport
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.relay import Relay
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.said import stream_error
from chatapi.upstream.stream import UpstreamStream
from chatapi.upstream.targets import Target

LARGEST_REPLY_BYTES = 64 * 1024 * 1024
WHOLE_MEDIA_TYPES = {"application/json", "text/html"}


class Wire:
    """The connections to one upstream, and the two ways to use them."""

    def __init__(self, target: Target) -> None:
        timeouts = target.timeouts
        timeout = httpx2.Timeout(
            connect=timeouts.connect_s,
            pool=timeouts.connect_s,
            write=timeouts.idle_s,
            read=min(timeouts.first_byte_s, timeouts.deadline_s),
        )
        transport = build_transport(target, timeout)
        self._timeouts = timeouts
        self._client = build_client(target, transport, timeout)
        self._relay = Relay(self._client, transport, target)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def complete(self, body: Mapping[str, object], call_id: str, cutoff: Cutoff) -> UpstreamReply:
        """Make a plain chat completion with the openai client.

        Raises:
            UpstreamError: saying what went wrong and whether the model may have run.
        """
        whole = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        return _reply(ask(self._client, self._timeouts, whole, call_id, cutoff))

    def open(self, body: Mapping[str, object], call_id: str, cutoff: Cutoff) -> UpstreamStream:
        """Open a streamed chat completion with the openai client.

        Raises:
            UpstreamError: as above.
        """
        return _stream(ask(self._client, self._timeouts, {**body, "stream": True}, call_id, cutoff), pass_usage=False)

    def relay(self, body: bytes, model: str, call_id: str, cutoff: Cutoff) -> UpstreamReply:
        """Relay a plain chat completion.

        Raises:
            UpstreamError: as above.
        """
        return _reply(self._relay.send(body, model, call_id, cutoff, stream=False))

    def relay_stream(
        self, body: bytes, model: str, call_id: str, cutoff: Cutoff, *, pass_usage: bool
    ) -> UpstreamStream:
        """Relay a streamed chat completion; with `pass_usage` also the event that is there for its usage alone.

        Raises:
            UpstreamError: as above.
        """
        return _stream(self._relay.send(body, model, call_id, cutoff, stream=True), pass_usage=pass_usage)


def _stream(exchange: Exchange, *, pass_usage: bool) -> UpstreamStream:
    if exchange.content_type in WHOLE_MEDIA_TYPES:
        _read_object(exchange)  # raises if it says what went wrong
        raise UpstreamBroken("the upstream did not answer with a stream", may_have_run=True)
    return UpstreamStream(exchange, pass_usage=pass_usage)


def _read_object(exchange: Exchange) -> tuple[dict[str, Any], bytes]:
    """Read a whole answer, which must be a JSON object and no error; also the bytes that say it."""
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
        value, said = json_text.read(b"".join(parts))
    except ValueError:
        value, said = None, b""
    if not isinstance(value, dict):
        raise UpstreamBroken("the upstream sent a reply that is no JSON object", may_have_run=True)
    if value.get("error"):
        raise stream_error(value, exchange.key)
    return value, said


def _reply(exchange: Exchange) -> UpstreamReply:
    body, said = _read_object(exchange)
    choices = body.get("choices")
    choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if not choices:
        raise UpstreamBroken("the upstream sent a reply without choices", may_have_run=True)
    own_id = body.get("id")
    upstream_id = exchange.upstream_id or (own_id if isinstance(own_id, str) else None)
    return UpstreamReply(said, choices, Usage.reported(body.get("usage")), upstream_id)
