"""Request bodies: read whole, bounded, and strictly. What is no JSON object is refused with the reason."""

from __future__ import annotations

import re

import orjson
from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from chatapi.errors import InvalidRequest

DEEPEST = 64
OPENING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def json_object() -> dict[str, object]:
    """The request's body, a JSON object.

    Raises:
        InvalidRequest: wrong media type (415), encoded (415), too large (413), cut short, no JSON, no object, nested
        too deep (400).
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("Content-Encoding is not supported; send the body as it is", status=415)
    if request.mimetype != "application/json":
        raise InvalidRequest("The body must be JSON; send: Content-Type: application/json", status=415)
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in {"utf-8", "utf8"}:
        raise InvalidRequest("The body must be encoded in UTF-8", status=415)
    raw = _read()
    _check_depth(raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object")
    return value


def _read() -> bytes:
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise InvalidRequest("The body is too large", status=413) from None
    except ClientDisconnected:
        raise InvalidRequest("The body is shorter than its Content-Length says") from None
    if request.content_length is not None and len(raw) != request.content_length:
        raise InvalidRequest("The body is shorter than its Content-Length says")
    return raw


def _check_depth(raw: bytes) -> None:
    """Bound the nesting before parsing; brackets inside strings do not count."""
    depth = 0
    for token in OPENING.finditer(raw):
        if token[0] in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise InvalidRequest(f"The body is nested deeper than {DEEPEST} levels")
        elif token[0] in b"]}":
            depth -= 1
