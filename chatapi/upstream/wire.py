"""Requests over the wire. Two ways up: the openai client's, and the relay's; what comes back is read alike.

Importing this imports openai, which is slow.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from chatapi.errors import UpstreamBroken
from chatapi.upstream.asking import ask
from chatapi.upstream.byte_stream import ByteStream, RelayedStream, WholeStream, sound_type
from chatapi.upstream.clients import build_client, build_transport
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.forms import FORMS, Form, Streaming
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.relay import Relay
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.scanner import Scanner
from chatapi.upstream.stream import EVENT_STREAM, UpstreamStream
from chatapi.upstream.targets import Target
from chatapi.upstream.transcript import NoTranscript, Transcript
from chatapi.upstream.typed_events import TypedScanner, read_typed_event
from chatapi.upstream.whole import raise_if_error, read_reply

WHOLE_MEDIA_TYPES = {"application/json", "text/html"}
CHAT = FORMS["/v1/chat/completions"]


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
        return read_reply(ask(self._client, self._timeouts, whole, call_id, cutoff), CHAT)

    def open(self, body: Mapping[str, object], call_id: str, cutoff: Cutoff) -> RelayedStream:
        """Open a streamed chat completion with the openai client.

        Raises:
            UpstreamError: as above.
        """
        exchange = ask(self._client, self._timeouts, {**body, "stream": True}, call_id, cutoff)
        return _stream(exchange, CHAT, pass_usage=False)

    def relay(self, parcel: Parcel, call_id: str, cutoff: Cutoff) -> UpstreamReply:
        """Relay a request whose reply is whole.

        Raises:
            UpstreamError: as above.
        """
        form = FORMS[parcel.form]
        return read_reply(self._relay.send(parcel, form.path, call_id, cutoff), form)

    def relay_stream(self, parcel: Parcel, call_id: str, cutoff: Cutoff) -> RelayedStream:
        """Relay a request whose reply comes piece by piece.

        Raises:
            UpstreamError: as above.
        """
        form = FORMS[parcel.form]
        return _stream(self._relay.send(parcel, form.path, call_id, cutoff), form, pass_usage=parcel.pass_usage)


def _stream(exchange: Exchange, form: Form, *, pass_usage: bool) -> RelayedStream:
    if form.may_be_whole and exchange.content_type != EVENT_STREAM:
        return WholeStream(read_reply(exchange, form))
    if exchange.content_type in WHOLE_MEDIA_TYPES:
        raise_if_error(exchange)
        raise UpstreamBroken("the upstream did not answer with a stream", may_have_run=True)
    if form.streaming is Streaming.CHOICES:
        return UpstreamStream(exchange, Scanner(pass_usage=pass_usage), Transcript())
    if form.streaming is Streaming.BYTES and exchange.content_type != EVENT_STREAM:
        return ByteStream(exchange, sound_type(exchange.content_type))
    transcript = Transcript(read_typed_event) if form.keeps else NoTranscript()
    return UpstreamStream(exchange, TypedScanner(), transcript)
