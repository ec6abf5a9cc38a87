"""Every exception of openai and httpx2 becomes one of `chatapi.errors.Upstream*`, here and nowhere else.

What an upstream says may be shown to clients, so it is cleaned first: no keys, no organisation ids, no credentials in
addresses.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx2
import openai

from chatapi.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamFailed,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)

UPSTREAM_FAULTS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError)
"""What `translate` understands; anything else is a fault of our own and is not hidden."""

LONGEST_REASON = 500
LONGEST_RETRY_AFTER_S = 24 * 60 * 60
ERROR_FIELDS = ("message", "type", "param", "code")
SECRETS = re.compile(
    r"(?i)\bbearer\s+\S+"  # an Authorization header
    r"|\b(?:sk|sess|rk|pk)[-_][\w*.…-]{4,}"  # a key, masked or not
    r"|\b(?:org|proj)[-_][A-Za-z0-9]{6,}"  # an organisation or project id
    r"|(?<=://)[^\s/@]+@"  # credentials in an address
    r"|\b[0-9a-f]{32,}\b"  # a key of Azure's
)
CREDENTIALS_REFUSED = "the upstream refused this gateway's credentials"


def translate(error: BaseException) -> UpstreamError:
    """The domain's error for one of UPSTREAM_FAULTS."""
    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) and error.__cause__ else error
    match cause:
        case httpx2.ConnectTimeout():
            return UpstreamUnreachable("the upstream could not be reached in time")
        case httpx2.PoolTimeout():
            return UpstreamUnreachable("too many calls to the upstream are under way")
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


def stream_error(error: Mapping[str, object]) -> UpstreamError:
    """The domain's error for an error event in the middle of a stream, or for an error that came with status 200."""
    said = _error_object(error)
    message = said.get("message") if said else None
    reason = f"the upstream ended with an error: {message}" if message else "the upstream ended with an error"
    return UpstreamBroken(reason, may_have_run=True, body=said)


def clean(text: str) -> str:
    """What an upstream said, fit to be shown: secrets struck out, control characters removed, not too long."""
    shown = SECRETS.sub("***", "".join(char if char.isprintable() else " " for char in text)).strip()
    return shown if len(shown) <= LONGEST_REASON else shown[:LONGEST_REASON] + "…"


def _status_error(error: openai.APIStatusError) -> UpstreamError:
    status = error.status_code
    retry_after_s = _retry_after_s(error.response.headers)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return UpstreamRefused(CREDENTIALS_REFUSED, status=status)  # its message quotes a part of the key
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return UpstreamUnreachable("the proxy on the way to the upstream wants credentials", status=status)
    body = _error_object(error.body)
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


def _error_object(body: object) -> dict[str, object] | None:
    """OpenAI's error object, cleaned, out of a reply's body; also out of the shapes that compatible servers have."""
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping | str):
        body = body["error"]
    if isinstance(body, str):
        body = {"message": body}
    if not isinstance(body, Mapping):
        return None
    message = body.get("message") or body.get("detail")
    if not isinstance(message, str) or message.lstrip().startswith("<"):
        return None  # none at all, or a page of HTML
    fields = {field: body.get(field) for field in ERROR_FIELDS} | {"message": message}
    return {field: clean(value) if isinstance(value, str) else _plain(value) for field, value in fields.items()}


def _plain(value: object) -> str | None:
    """Some servers give the status as `code`, a number; OpenAI's clients expect text or null."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


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
