"""Reading a whole answer, and judging whether it is one."""

from __future__ import annotations

import math
from typing import Any

from chatapi.domain.extras import NOTHING_ELSE, Extras
from chatapi.domain.usage import Usage
from chatapi.errors import UpstreamBroken
from chatapi.upstream import json_text
from chatapi.upstream.chat_as_text import completion_of
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.forms import Form
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.said import stream_error

MOST_SECONDS = 10**6  # that are believed
LARGEST_REPLY_BYTES = 64 * 1024 * 1024
JSON = "application/json"
TEXTS = ("text/plain", "text/vtt", "application/x-subrip", "text/srt")


def read_reply(exchange: Exchange, form: Form) -> UpstreamReply:
    """Read an answer to its end.

    Raises:
        UpstreamError: it broke off, is an error, or is not what the form says.
    """
    data = _read(exchange)
    if form.texts and exchange.content_type in TEXTS:
        text = data.decode("utf-8", "replace")
        return UpstreamReply(
            data, f"{exchange.content_type}; charset=utf-8", {"text": text}, None, exchange.upstream_id, form.produced
        )
    value, said = _object(data)
    if value.get("error") and value.get("object") != "response":
        raise stream_error(value, exchange.key)
    if form.must_have is not None and not isinstance(value.get(form.must_have), form.kind):
        raise UpstreamBroken(f"the upstream sent a reply without {form.must_have}", may_have_run=True)
    if form.must_have == "choices" and not any(isinstance(choice, dict) for choice in value["choices"]):
        raise UpstreamBroken("the upstream sent a reply without choices", may_have_run=True)
    own_id = value.get("id")
    upstream_id = exchange.upstream_id or (own_id if isinstance(own_id, str) else None)
    usage = Usage.reported(value.get("usage"), completes=form.completes, service_tier=value.get("service_tier"))
    if form.as_text:
        said = completion_of(value)
    extras = Extras(seconds=_seconds(value)) if form.texts else NOTHING_ELSE
    return UpstreamReply(said, JSON, value, usage, upstream_id, form.produced, extras)


def _seconds(transcription: dict[str, Any]) -> int:
    """How long what was transcribed lasts, in whole seconds begun; 0 where that is not said.

    Source: OpenAI's API reference, `TranscriptTextUsageDuration`, and `duration` of the verbose transcription.
    """
    usage = transcription.get("usage")
    of_usage = usage.get("seconds") if isinstance(usage, dict) else None
    seconds = transcription.get("duration") if of_usage is None else of_usage
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < MOST_SECONDS:
        return 0
    return math.ceil(seconds)


def read_object(exchange: Exchange) -> dict[str, Any]:
    """Read an answer that must be a JSON object, of any kind.

    Raises:
        UpstreamError: it broke off, or is none.
    """
    value, _ = _object(_read(exchange))
    return value


def raise_if_error(exchange: Exchange) -> None:
    """Read an answer that should have been a stream.

    Raises:
        UpstreamError: what it says went wrong, if it does.
    """
    value = read_object(exchange)
    if value.get("error"):
        raise stream_error(value, exchange.key)


def _read(exchange: Exchange) -> bytes:
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
    return b"".join(parts)


def _object(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON object that an answer must be; also the bytes that say it."""
    try:
        value, said = json_text.read(data)
    except ValueError:
        value, said = None, b""
    if not isinstance(value, dict):
        raise UpstreamBroken("the upstream sent a reply that is no JSON object", may_have_run=True)
    return value, said
