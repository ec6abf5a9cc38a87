"""JSON as upstreams really write it: read strictly and fast, and only when that fails, leniently and slowly."""

from __future__ import annotations

import json
from typing import Any

import orjson


def loads(data: bytes) -> Any:
    """Decode what an upstream sent.

    Bytes that are no UTF-8, and halves of surrogate pairs (some servers cut an emoji in two), become U+FFFD; NaN and
    the infinities become None: so whatever comes back can be encoded again.

    Raises:
        ValueError: it is no JSON at all.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return _encodable(json.loads(data.decode("utf-8", "replace"), strict=False, parse_constant=lambda _name: None))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read(data: bytes) -> tuple[Any, bytes]:
    """Decode what an upstream sent, and say it: as it came where it is proper JSON, else anew.

    Raises:
        ValueError: it is no JSON at all.
    """
    try:
        return orjson.loads(data), data
    except orjson.JSONDecodeError:
        value = loads(data)
        return value, orjson.dumps(value)


def _encodable(value: Any) -> Any:
    """The same value without lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value
