"""Makers of the small pieces that the OpenAPI document consists of, so that the modules beside it read as tables.

Source: OpenAPI 3.1.1, whose schemas are those of JSON Schema, draft 2020-12.
"""

from __future__ import annotations

from typing import Any

Piece = dict[str, Any]
"""A part of the document, as JSON will say it."""

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"


def ref(kind: str, name: str) -> Piece:
    """Points to a component: `schemas`, `responses`, `headers` or `parameters`."""
    return {"$ref": f"#/components/{kind}/{name}"}


def schema(name: str) -> Piece:
    """Points to a schema."""
    return ref("schemas", name)


def string(description: str = "", **more: object) -> Piece:
    """A text."""
    return _described({"type": "string"} | more, description)


def integer(description: str = "", least: int = 0, most: int | None = None, **more: object) -> Piece:
    """An integer within these bounds."""
    bounds = {"minimum": least} | ({} if most is None else {"maximum": most})
    return _described({"type": "integer"} | bounds | more, description)


def boolean(description: str = "") -> Piece:
    """True or false."""
    return _described({"type": "boolean"}, description)


def array(items: Piece, description: str = "", least: int = 1) -> Piece:
    """A list of at least so many items."""
    return _described({"type": "array", "items": items, "minItems": least}, description)


def obj(required: str, properties: Piece, description: str = "", *, open: bool = True, **more: Any) -> Piece:
    """An object.

    Args:
        required: the names of what must be there, with spaces between them.
        properties: by name.
        description: of it.
        open: whether it may have other properties.
        more: what else its schema says.
    """
    names: Piece = {"required": required.split()} if required else {}
    made = {"type": "object"} | names | {"properties": properties, "additionalProperties": open} | more
    return _described(made, description)


def nullable(piece: Piece) -> Piece:
    """The same, or null, which means that it is absent."""
    return piece | {"type": [piece["type"], "null"]}


def one_of_words(words: tuple[str, ...] | list[str], description: str = "") -> Piece:
    """One of these texts."""
    return _described({"type": "string", "enum": list(words)}, description)


def body(piece: Piece, example: object, media_type: str = JSON) -> Piece:
    """What a request must bring."""
    return {"required": True, "content": {media_type: {"schema": piece, "example": example}}}


def reply(description: str, content: Piece | None = None, headers: tuple[str, ...] = (), **required: Piece) -> Piece:
    """What comes back.

    Args:
        description: when.
        content: schemas by media type; nothing for none.
        headers: names of header components.
        required: more headers, of this reply only.
    """
    made: Piece = {"description": description, "headers": {name: ref("headers", name) for name in headers} | required}
    if content:
        made["content"] = {media_type: {"schema": piece} for media_type, piece in content.items()}
    return made


def _described(piece: Piece, description: str) -> Piece:
    return piece | ({"description": description} if description else {})
