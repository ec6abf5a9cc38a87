"""Every exception of openai and httpx2 becomes one of `chatapi.errors.Upstream*`, here and nowhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx2
import openai

from chatapi.errors import (
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from chatapi.upstream.said import error_object

UPSTREAM_FAULTS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError)
"""What `translate` understands; anything else is a fault of our own and is not hidden."""

LONGEST_RETRY_AFTER_S = 24 * 60 * 60
CREDENTIALS_REFUSED = "the upstream refused this gateway's credentials"


def translate(error: BaseException) -> UpstreamError:
    """The domain's error for one of UPSTREAM_FAULTS."""
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    match cause:
        case httpx2.ConnectTimeout():
            return UpstreamUnreachable("the upstream could not be reached in time")
        case httpx2.PoolTimeout():
            return UpstreamBusy("too many calls to the upstream are under way")
        case httpx2.ConnectError() | httpx2.ProxyError() | httpx2.UnsupportedProtocol() | httpx2.InvalidURL():
            return UpstreamUnreachable("the upstream could not be reached")
        case httpx2.LocalProtocolError():
            return UpstreamUnreachable("the request could not be sent to the upstream")
        case httpx2.TimeoutException() | openai.APITimeoutError():
            return UpstreamTimeout("the upstream took too long to answer", may_have_run=True)
        case httpx2.HTTPError() | httpx2.StreamError() | openai.APIConnectionError() | openai.APIError() | OSError():
            return UpstreamBroken("the upstream broke off its answer", may_have_run=True)
        case _:
            return UpstreamFailed("the upstream could not be called")


def status_error(status: int, headers: Mapping[str, str], said: object, key: str) -> UpstreamError:
    """The domain's error for a status that is no success.

    Args:
        status: the HTTP status.
        headers: the answer's, by names in lower case.
        said: the answer's body, decoded, or whatever else came.
        key: the key that the request was sent with.
    """
    retry_after_s = _retry_after_s(headers)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return UpstreamRefused(CREDENTIALS_REFUSED, status=status)  # its message quotes a part of the key
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return UpstreamUnreachable("the proxy on the way to the upstream wants credentials", status=status)
    body = error_object(said, key)
    reason = f"the upstream answered {status}"
    if body is not None:
        reason += f": {body['message']}"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamRateLimited(reason, status=status, retry_after_s=retry_after_s, body=body)
    # 408 and 409 are the upstream's own trouble with timing, not a fault in what the client asked.
    temporary = status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and not temporary:
        return UpstreamRefused(reason, status=status, retry_after_s=retry_after_s, body=body)
    return UpstreamFailed(reason, status=status, retry_after_s=retry_after_s, body=body)


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """When to try again, in whole seconds from now: `retry-after-ms`, or `Retry-After` (RFC 9110, 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = milliseconds / 1000 if milliseconds is not None else _number(headers.get("retry-after"))
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time()
        except ValueError:
            return None
    return max(1, math.ceil(min(seconds, LONGEST_RETRY_AFTER_S)))


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
