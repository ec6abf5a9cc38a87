"""Which kind of stream an answer is."""

from __future__ import annotations

from chatapi.errors import UpstreamBroken
from chatapi.upstream.byte_stream import ByteStream, RelayedStream, WholeStream, sound_type
from chatapi.upstream.chat_as_text import TextStream
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.forms import Form, Streaming
from chatapi.upstream.scanner import Scanner
from chatapi.upstream.stream import EVENT_STREAM, UpstreamStream
from chatapi.upstream.transcript import NoTranscript, Transcript
from chatapi.upstream.typed_events import TypedScanner, read_typed_event
from chatapi.upstream.whole import raise_if_error, read_reply

WHOLE_MEDIA_TYPES = {"application/json", "text/html"}


def read_stream(exchange: Exchange, form: Form, *, pass_usage: bool) -> RelayedStream:
    """The stream that an answer is; with `pass_usage` also the event that is there for its usage alone.

    Raises:
        UpstreamError: the answer is none.
    """
    if form.may_be_whole and exchange.content_type != EVENT_STREAM:
        return WholeStream(read_reply(exchange, form))
    if exchange.content_type in WHOLE_MEDIA_TYPES:
        raise_if_error(exchange)
        raise UpstreamBroken("the upstream did not answer with a stream", may_have_run=True)
    if form.streaming is Streaming.CHOICES:
        kind = TextStream if form.as_text else UpstreamStream
        return kind(exchange, Scanner(pass_usage=pass_usage), Transcript())
    if form.streaming is Streaming.BYTES and exchange.content_type != EVENT_STREAM:
        return ByteStream(exchange, sound_type(exchange.content_type))
    transcript = Transcript(read_typed_event) if form.keeps else NoTranscript()
    return UpstreamStream(exchange, TypedScanner(), transcript)
