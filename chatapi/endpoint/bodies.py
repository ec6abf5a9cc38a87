"""Request bodies: read whole, bounded, and strictly. What is no JSON object is refused with the reason."""

from __future__ import annotations

import json

import orjson
from flask import request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from chatapi.errors import InvalidRequest

DEEPEST = 64
MOST_VALUES = 100_000
"""Of a body, the items of its objects and arrays; far more than two megabytes of messages have. What reads a body value
by value is bounded by this, for it runs beside thousands of streams."""
DIGITS = bytes.maketrans(b"123456789", b"000000000")
LONG_NUMBER = b"0" * 19
"""After `DIGITS`: what may be an integer of more than 64 bits."""
NO_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))


def json_object() -> dict[str, object]:
    """The request's body, a JSON object.

    Raises:
        InvalidRequest: wrong media type (415), encoded (415), too large (413), cut short, no JSON, no object, nested
        too deep, of too many values (400).
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("Content-Encoding is not supported; send the body as it is", status=415)
    if request.mimetype != "application/json":
        raise InvalidRequest("The body must be JSON; send: Content-Type: application/json", status=415)
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in {"utf-8", "utf8"}:
        raise InvalidRequest("The body must be encoded in UTF-8", status=415)
    raw = _read()
    _check_structure(raw)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    if LONG_NUMBER in raw.translate(DIGITS):  # orjson has made floats of such integers
        value = json.loads(raw, parse_int=_exactly)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object")
    return value


def text_body(media_type: str) -> bytes:
    """The request's body, a text of this media type in UTF-8; whether it is that is for its reader to find out.

    Raises:
        InvalidRequest: wrong media type (415), encoded (415), too large (413), cut short (400).
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InvalidRequest("Content-Encoding is not supported; send the body as it is", status=415)
    if request.mimetype != media_type:
        raise InvalidRequest(f"The body must be a file; send: Content-Type: {media_type}", status=415)
    if request.mimetype_params.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        raise InvalidRequest("The body must be encoded in UTF-8", status=415)
    return _read()


def _exactly(digits: str) -> object:
    """An integer, or what orjson writes as these digits where it takes no integer of that size."""
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else orjson.Fragment(digits)


def _read() -> bytes:
    limit = request.max_content_length or 0
    length = request.content_length
    if length is None:
        return _read_to_its_end(limit)
    if length > limit:
        raise _too_large(limit)
    read = request.environ["wsgi.input"].read
    raw: bytes = read(length)
    while len(raw) < length:
        piece = read(length - len(raw))
        if not piece:
            raise InvalidRequest("The body is shorter than its Content-Length says")
        raw += piece
    return raw


def _read_to_its_end(limit: int) -> bytes:
    """A body without a length, such as one in chunks."""
    request.max_content_length = limit + 1  # where it is cut, silently
    try:
        raw = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise _too_large(limit) from None
    except ClientDisconnected:
        raise InvalidRequest("The body breaks off before its end") from None
    if len(raw) > limit:
        raise _too_large(limit)
    return raw


def _too_large(limit: int) -> InvalidRequest:
    return InvalidRequest(f"The body is too large; send at most {limit} bytes", status=413)


def _check_structure(raw: bytes) -> None:
    """Bound the nesting and the number of values before parsing, in time that only grows with the body's length.

    Whatever is valid JSON is judged exactly; the rest is left to the parser, whose own depth is bounded.
    """
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST and raw.count(b",") < MOST_VALUES:
        return
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"")  # a run of backslashes always begins outside an escape
    if unescaped.count(b'"') > 4 * MOST_VALUES:  # a name and a value each, begun and ended
        raise _too_many_values()
    structure = b"".join(unescaped.split(b'"')[::2]).translate(None, NO_STRUCTURE)
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") > MOST_VALUES:
        raise _too_many_values()
    depth = 0
    for character in structure.replace(b",", b""):
        depth += 1 if character in b"[{" else -1
        if depth > DEEPEST:
            raise InvalidRequest(f"The body is nested deeper than {DEEPEST} levels")


def _too_many_values() -> InvalidRequest:
    return InvalidRequest(f"The body has more than {MOST_VALUES} values")
