"""Bounds: how many tokens a call can use at most, from its body alone.

Every byte-level BPE gives at most one token for each UTF-8 byte, so the bytes of all text in the body bound the prompt
without any tokeniser. A part of a message that is no text is bounded by a table; what else stands in it is text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from chatapi.errors import InvalidRequest

CALL_OVERHEAD = 64  # tokens that a model's chat template adds to a prompt, whatever is in it
MESSAGE_OVERHEAD = 16  # tokens that a chat template adds for each message: role, separators, name
TOOLS_OVERHEAD = 512  # tokens that a chat template adds once tools are there
IMAGE_BOUND = 48_169  # the dearest image of OpenAI's vision guide: 2,833 + 8 tiles of 5,667
LONGEST_ADDRESS = 4096  # bytes of an image's address: what is longer and no data is counted as text
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
RENDERED = frozenset({"tools", "functions", "response_format"})
HTML_SAFE = "<>&'"  # what chat templates may write as \u003c and so on
LEAST_COMPLETION = 16  # tokens per choice below which a call is not worth sending


def prompt_bound_of(body: Mapping[str, object]) -> int:
    """No prompt made of this body has more tokens than this.

    Raises:
        InvalidRequest: it has a part that nothing here can bound.
    """
    messages = body.get("messages")
    rows = messages if isinstance(messages, list) else []
    overhead = CALL_OVERHEAD + MESSAGE_OVERHEAD * len(rows)
    if body.get("tools") or body.get("functions"):
        overhead += TOOLS_OVERHEAD
    others = sum(
        bytes_when_rendered(value) if name in RENDERED else bytes_of(value)
        for name, value in body.items()
        if name != "messages" or not rows
    )
    return overhead + others + sum(_message_bound(message) for message in rows)


def part_bound(part: object) -> int:
    """The bound of one element of a message's `content` list.

    Raises:
        InvalidRequest: nothing here can bound it.
    """
    if not isinstance(part, dict):
        return bytes_of(part)
    match part.get("type"):
        case "image_url" if "image_url" in part:
            return image_bound(part, "image_url")
        case "file":
            problem = "Files in messages are not supported: their tokens cannot be bounded before the call."
            raise InvalidRequest(problem, param="messages", code="unsupported_value")
    return bytes_of_fields(part)


def image_bound(part: Mapping[str, object], field: str) -> int:
    """The bound of a part that shows an image, which is in this field, as an object or as an address."""
    image = part.get(field)
    beside = _beside_the_image({"url": image})["url"] if isinstance(image, str) else _beside_the_image(image)
    return IMAGE_BOUND + bytes_of_fields({**part, field: beside})


def _message_bound(message: object) -> int:
    if not isinstance(message, dict):
        return bytes_of(message)
    content = message.get("content")
    if not isinstance(content, list):
        return bytes_of_fields(message)
    return bytes_of_fields({**message, "content": ""}) + sum(part_bound(part) for part in content)


def _beside_the_image(image: object) -> Any:
    """The field without what is surely an image: base64 data, or an address that has no room for a prompt."""
    if not isinstance(image, dict) or not isinstance(url := image.get("url"), str):
        return image
    kind, comma, data = url.partition(",")
    if comma and kind.startswith("data:image/") and kind.endswith(";base64") and len(kind) < LONGEST_ADDRESS:
        is_image = not data.encode().translate(None, BASE64)
    else:
        is_image = url.startswith(("https://", "http://")) and len(url.encode()) <= LONGEST_ADDRESS
    return {**image, "url": ""} if is_image else image


def bytes_of_fields(value: Mapping[str, object]) -> int:
    """The bytes of an object's fields, their names with them."""
    return sum(len(name.encode()) + bytes_of(item) for name, item in value.items())


def bytes_of(value: object) -> int:
    """The UTF-8 bytes of a text; of anything else, those of its JSON, which is longer than all text in it."""
    return len(value.encode()) if isinstance(value, str) else len(orjson.dumps(value))


def bytes_when_rendered(value: object) -> int:
    """The bytes of JSON as a chat template may show it to the model: indented, and whatever can be escaped escaped."""
    text = json.dumps(value, indent=4, default=lambda number: int(orjson.dumps(number)))  # more than 64 bits
    return len(text) + 5 * sum(text.count(character) for character in HTML_SAFE)
