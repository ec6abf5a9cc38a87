"""What an upstream says with a status that is no success. The status is enough to know that no model ran; the body is
read, as far as it comes soon, for what it says beside."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx2

from chatapi.errors import UpstreamError
from chatapi.upstream import json_text
from chatapi.upstream.answer import Answer, Decoded
from chatapi.upstream.cutoff import bind_to_cutoff
from chatapi.upstream.exchange import Exchange
from chatapi.upstream.said import key_in
from chatapi.upstream.targets import Timeouts
from chatapi.upstream.translate import status_error

SUCCESS = range(200, 300)
LARGEST_REFUSAL_BYTES = 1024 * 1024
LONGEST_REFUSAL_S = 1.0


def refusal(answer: Answer, exchange: Exchange) -> UpstreamError:
    """The error that the answer's status means, also where its body breaks off or stalls, or the call is cut off."""
    text = exchange.read_soon(LARGEST_REFUSAL_BYTES, LONGEST_REFUSAL_S)
    try:
        body = json_text.loads(text)
    except ValueError:
        body = text.decode("utf-8", "replace") if exchange.content_type == "text/plain" else None
    return status_error(answer.status, answer.headers, body, exchange.key)


def refuser(timeouts: Timeouts) -> Callable[[httpx2.Response], None]:
    """A hook for the openai client's responses, which raises the refusals: the client's own reading has no bounds."""

    def raise_refusal(response: httpx2.Response) -> None:
        if response.status_code in SUCCESS:
            return
        answer = Decoded(response)
        exchange = Exchange(answer, timeouts, time.monotonic(), key_in(response.request.headers))
        bind_to_cutoff(exchange.close)
        raise refusal(answer, exchange)

    return raise_refusal
