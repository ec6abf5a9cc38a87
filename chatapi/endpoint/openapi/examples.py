"""Examples of what may be sent, made from the schemas that pydantic writes of models."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from chatapi.endpoint.openapi.pieces import Piece

OF_FORMATS = {"date-time": "2026-12-01T00:00:00Z", "date": "2026-12-01", "uuid": "01a1f93a-1444-79b4-8cfc-ed5d93e3721b"}
OF_TYPES = {"boolean": True, "array": [], "object": {}, "null": None, "number": 1}
EXAMPLES = {"text/csv": "username,password\nada,correct horse battery staple\n"}
"""Of bodies that are no JSON."""
PARTS = {"month": "2026-11", "upstream": "openai"}
"""Of parts of paths."""


def example_of(model: type[BaseModel]) -> object:
    """A body of this model, with what must be there (all of it where nothing must)."""
    schema = model.model_json_schema()
    return example_value(schema, schema.get("$defs", {}))


def example_value(piece: Piece, defined: Piece | None = None) -> object:
    """A value of this schema."""
    defined = defined or {}
    if piece.get("examples"):
        return piece["examples"][0]
    if "$ref" in piece:
        return example_value(defined[piece["$ref"].rsplit("/", 1)[-1]], defined)
    if "const" in piece or "enum" in piece:
        return piece.get("const", piece.get("enum", [None])[0])
    if "anyOf" in piece:
        return example_value(piece["anyOf"][0], defined)
    return _of_type(piece, defined)


def _of_type(piece: Piece, defined: Piece) -> object:
    kind = piece.get("type", "object")
    if kind == "object" and "properties" in piece:
        names = piece.get("required") or list(piece["properties"])
        return {name: example_value(piece["properties"][name], defined) for name in names}
    if kind == "integer":
        return max(1, piece.get("minimum", 1))
    if kind == "string":
        return OF_FORMATS.get(piece.get("format", ""), "example".ljust(piece.get("minLength", 0), "."))
    return OF_TYPES[kind]


def tidy(piece: Any) -> Any:
    """The same without the titles that pydantic makes of names, and with "or null" as a type where that says it."""
    if isinstance(piece, list):
        return [tidy(each) for each in piece]
    if not isinstance(piece, dict):
        return piece
    made = {
        key: ({name: tidy(each) for name, each in value.items()} if key == "properties" else tidy(value))
        for key, value in piece.items()
        if key != "title" or not isinstance(value, str)
    }
    match made.get("anyOf"):
        case [{"type": str(kind), **more}, {"type": "null"}] if "enum" not in more and "const" not in more:
            del made["anyOf"]
            return made | more | {"type": [kind, "null"]}
    return made
