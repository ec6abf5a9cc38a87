"""What upstreams say when they fail: their error objects, in all shapes, cleaned.

It may be shown to clients, so there are no keys in it, no organisation ids, and no credentials in addresses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from chatapi.errors import UpstreamBroken

LONGEST_REASON = 500
SHORTEST_KEY = 8  # a shorter one is a placeholder, and may be a word of the message
ERROR_FIELDS = ("message", "type", "param", "code")
SECRETS = re.compile(
    r"(?i)\bbearer\s+\S+"  # an Authorization header
    r"|\b(?:sk|sess|rk|pk)[-_][\w*.…-]{4,}"  # a key, masked or not
    r"|\b(?:org|proj)[-_][A-Za-z0-9]{6,}"  # an organisation or project id
    r"|(?<=://)[^\s/@]+@"  # credentials in an address
    r"|\b[0-9a-f]{32,}\b"  # a key of Azure's
)


def stream_error(error: Mapping[str, object], key: str) -> UpstreamBroken:
    """The domain's error for an error event in the middle of a stream, or for an error that came with status 200."""
    said = error_object(error, key)
    message = said.get("message") if said else None
    reason = f"the upstream ended with an error: {message}" if message else "the upstream ended with an error"
    return UpstreamBroken(reason, may_have_run=True, body=said)


def key_in(headers: Mapping[str, str]) -> str:
    """The key that a request was sent with, so that it can be struck out of the answer, whatever it looks like."""
    return headers.get("api-key") or headers.get("authorization", "").removeprefix("Bearer ")


def error_object(body: object, key: str) -> dict[str, object] | None:
    """OpenAI's error object, cleaned, out of a reply's body; also out of the shapes that compatible servers have.

    Args:
        body: the decoded reply, or whatever else came.
        key: the key that the request was sent with.
    """
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
    return {field: _clean(value, key) if isinstance(value, str) else _plain(value) for field, value in fields.items()}


def _clean(text: str, key: str) -> str:
    """What an upstream said, fit to be shown: secrets struck out, control characters removed, not too long."""
    if len(key) >= SHORTEST_KEY:
        text = text.replace(key, "***")
    shown = SECRETS.sub("***", "".join(char if char.isprintable() else " " for char in text)).strip()
    return shown if len(shown) <= LONGEST_REASON else shown[:LONGEST_REASON] + "…"


def _plain(value: object) -> str | None:
    """Some servers give the status as `code`, a number; OpenAI's clients expect text or null."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
