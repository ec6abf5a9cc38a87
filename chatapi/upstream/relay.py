"""Relaying a request: its bytes go out over the same connections as the openai client's calls, with
the URL and the headers that the client's configuration yields (key, organisation, project, Azure's paths).

What the client would send is asked of the client itself, once per upstream and not per call: it makes a request, which
is taken down instead of sent.
"""

from __future__ import annotations

import functools
import time

import httpx2
import openai

from chatapi.errors import UpstreamUnreachable
from chatapi.upstream.asking import STREAM_HEADERS, without_none
from chatapi.upstream.cutoff import Cutoff
from chatapi.upstream.exchange import Exchange, cut_here
from chatapi.upstream.letterhead import CALL_ID_HEADER, Letterhead
from chatapi.upstream.own_keys import OwnKey, account_headers
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.refusal import SUCCESS, refusal
from chatapi.upstream.said import key_in
from chatapi.upstream.targets import Target, Timeouts
from chatapi.upstream.translate import UPSTREAM_FAULTS, translate
from chatapi.upstream.transport import Transport

OF_EACH_CALL = frozenset({b"content-length", CALL_ID_HEADER.lower().encode("ascii")})
MOST_LETTERHEADS = 256
MOST_OWN_LETTERHEADS = 1024  # of tenants' own keys


class Relay:
    """Sends bodies that are made already.

    Args:
        client: whose configuration says where to and with which headers.
        transport: the connections, shared with the client.
        target: the upstream.
    """

    def __init__(self, client: openai.OpenAI, transport: Transport, target: Target) -> None:
        self._client = client
        self._transport = transport
        self._timeouts: Timeouts = target.timeouts
        self._kind = target.kind
        self._path_has_model = target.kind == "azure" and target.deployment is None
        self._letterhead = functools.lru_cache(MOST_LETTERHEADS)(self._take_down)
        self._own_letterhead = functools.lru_cache(MOST_OWN_LETTERHEADS)(self._take_down)

    def send(self, parcel: Parcel, path: str, call_id: str, cutoff: Cutoff, own: OwnKey | None = None) -> Exchange:
        """Send a request; return when the status and headers of its answer have come.

        Args:
            parcel: what to send; its content goes out as it is.
            path: where to, below the upstream's base address.
            call_id: goes along as a header.
            cutoff: may cut the call off.
            own: the key to send it with; None: the installation's.

        Raises:
            UpstreamError: there is no answer, or it is not 200, or the call was cut off.
        """
        content = parcel.content
        is_json = isinstance(content, bytes)
        model = parcel.model if self._path_has_model else ""
        if own is None:
            letterhead = self._letterhead(path, model, parcel.stream, is_json)
        else:
            letterhead = self._own_letterhead(path, model, parcel.stream, is_json, own)
        if cutoff.is_cancelled():
            raise UpstreamUnreachable("the call was cut off before it was sent")
        started_at = time.monotonic()
        try:
            answer = self._transport.relay(letterhead, call_id, content, cutoff)
        except UPSTREAM_FAULTS as error:
            fault = translate(error)
            raise (cut_here() if cutoff.is_cancelled() and fault.may_have_run else fault) from error
        exchange = Exchange(answer, self._timeouts, started_at, letterhead.key)
        cutoff.bind(exchange.close)
        if answer.status not in SUCCESS:
            try:
                raise refusal(answer, exchange)
            finally:
                cutoff.unbind()
        return exchange

    def _take_down(self, path: str, model: str, stream: bool, is_json: bool, own: OwnKey | None = None) -> Letterhead:
        """What the client would send with a request for this model; a form says its media type each time anew."""
        note = _Note()
        client = self._client.with_options(http_client=httpx2.Client(transport=note))
        headers = {
            **(STREAM_HEADERS if stream else {"Accept-Encoding": "identity"}),
            **without_none(account_headers(self._kind, own)),
        }
        client.post(path, cast_to=httpx2.Response, body={"model": model}, options={"headers": headers})
        request = note.request
        changing = OF_EACH_CALL if is_json else OF_EACH_CALL | {b"content-type"}
        lasting = tuple(header for header in request.headers.raw if header[0].lower() not in changing)
        return Letterhead(request.url, lasting, key_in(request.headers))


class _Note(httpx2.BaseTransport):
    """Takes a request down instead of sending it."""

    request: httpx2.Request

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.request = request
        return httpx2.Response(200, json={})
