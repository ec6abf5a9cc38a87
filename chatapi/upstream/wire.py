"""Requests over the wire. Two ways up: the openai client's, and the relay's; what comes back is read alike.

Importing this imports openai, which is slow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2

from chatapi.errors import UpstreamError
from chatapi.upstream.asking import ask
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.clients import build_client, build_transport
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.forms import FORMS
from chatapi.upstream.listing import ListedModel, list_models
from chatapi.upstream.own_keys import OwnKey, account_headers
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.relay import Relay
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.streamed import read_stream
from chatapi.upstream.targets import Target
from chatapi.upstream.whole import read_reply

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
        self._kind = target.kind
        self._timeouts = timeouts
        self._client = build_client(target, transport, timeout)
        self._relay = Relay(self._client, transport, target)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def complete(
        self, body: Mapping[str, object], call_id: str, cutoff: Cutoff, own: OwnKey | None = None
    ) -> UpstreamReply:
        """Make a plain chat completion with the openai client.

        Raises:
            UpstreamError: saying what went wrong and whether the model may have run.
        """
        whole = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
        exchange = ask(self._client, self._timeouts, whole, call_id, cutoff, account_headers(self._kind, own))
        with _begun():
            return read_reply(exchange, CHAT)

    def open(
        self, body: Mapping[str, object], call_id: str, cutoff: Cutoff, own: OwnKey | None = None
    ) -> RelayedStream:
        """Open a streamed chat completion with the openai client.

        Raises:
            UpstreamError: as above.
        """
        account = account_headers(self._kind, own)
        exchange = ask(self._client, self._timeouts, {**body, "stream": True}, call_id, cutoff, account)
        with _begun():
            return read_stream(exchange, CHAT, pass_usage=False)

    def models(self) -> list[ListedModel]:
        """What the upstream lists.

        Raises:
            UpstreamError: as above.
        """
        return list_models(self._client, self._timeouts)

    def relay(self, parcel: Parcel, call_id: str, cutoff: Cutoff, own: OwnKey | None = None) -> UpstreamReply:
        """Relay a request whose reply is whole.

        Raises:
            UpstreamError: as above.
        """
        form = FORMS[parcel.form]
        exchange = self._relay.send(parcel, form.path, call_id, cutoff, own)
        with _begun():
            return read_reply(exchange, form)

    def relay_stream(self, parcel: Parcel, call_id: str, cutoff: Cutoff, own: OwnKey | None = None) -> RelayedStream:
        """Relay a request whose reply comes piece by piece.

        Raises:
            UpstreamError: as above.
        """
        form = FORMS[parcel.form]
        exchange = self._relay.send(parcel, form.path, call_id, cutoff, own)
        with _begun():
            return read_stream(exchange, form, pass_usage=parcel.pass_usage)


@contextmanager
def _begun() -> Iterator[None]:
    """What fails here fails in the middle of an answer."""
    try:
        yield
    except UpstreamError as error:
        error.began = True
        raise
