"""Sending a chat completion by the openai client, as anyone would, for routes with a contract of their own."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx2
import openai
import orjson

from chatapi.errors import UpstreamUnreachable
from chatapi.upstream.answer import answer_of
from chatapi.upstream.cutoff import Cutoff, holding
from chatapi.upstream.exchange import Exchange, cut_here
from chatapi.upstream.letterhead import CALL_ID_HEADER
from chatapi.upstream.said import key_in
from chatapi.upstream.targets import Timeouts
from chatapi.upstream.translate import UPSTREAM_FAULTS, translate

PATH = "/chat/completions"
UNREAD_HEADER = "X-Stainless-Raw-Response"
"""With the value "stream" the client leaves the body unread; its own `with_streaming_response` sends it, too."""
STREAM_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}


def ask(
    client: openai.OpenAI,
    timeouts: Timeouts,
    body: Mapping[str, object],
    call_id: str,
    cutoff: Cutoff,
    account: Mapping[str, str | None],
) -> Exchange:
    """Send a chat completion to the upstream; return when the status and headers of its answer have come.

    Args:
        client: sends it.
        timeouts: the upstream's.
        body: what is asked.
        call_id: goes along as a header.
        cutoff: may cut the call off.
        account: headers that it has instead of the client's own (`account_headers`).

    Raises:
        UpstreamError: there is no answer, or it is not 200, or the call was cut off.
    """
    options: openai.RequestOptions = {
        "headers": _headers(body, call_id, account),
        # What is not said here the client would copy from its defaults, which takes longer.
        "timeout": client.timeout,
        "max_retries": client.max_retries,
        "idempotency_key": call_id,
    }
    if cutoff.is_cancelled():
        raise UpstreamUnreachable("the call was cut off before it was sent")
    started_at = time.monotonic()
    try:
        with holding(cutoff):
            response = client.post(PATH, cast_to=httpx2.Response, body=_spelled_out(body), options=options)
    except UPSTREAM_FAULTS as error:
        fault = translate(error)
        raise (cut_here() if cutoff.is_cancelled() and fault.may_have_run else fault) from error
    exchange = Exchange(answer_of(response), timeouts, started_at, key_in(response.request.headers))
    cutoff.bind(exchange.close)
    return exchange


def _headers(
    body: Mapping[str, object], call_id: str, account: Mapping[str, str | None]
) -> dict[str, str | openai.Omit]:
    streamed = STREAM_HEADERS if body.get("stream") else {}
    return {CALL_ID_HEADER: call_id, UNREAD_HEADER: "stream", **without_none(account), **streamed}


def without_none(headers: Mapping[str, str | None]) -> dict[str, str | openai.Omit]:
    """Headers as the client takes them."""
    return {name: openai.omit if value is None else value for name, value in headers.items()}


def _spelled_out(value: object) -> object:
    """The same without what only orjson can write: integers of more than 64 bits, as `endpoint.bodies` reads them."""
    if isinstance(value, Mapping):
        return {name: _spelled_out(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelled_out(item) for item in value]
    return int(orjson.dumps(value)) if isinstance(value, orjson.Fragment) else value
