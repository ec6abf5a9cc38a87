"""The document as a page of plain HTML, for people: every operation with what it takes and answers, and a curl line.

It is whole in itself, and allows nothing else: no script, no other file, and only its own style, known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from shlex import quote
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from chatapi.endpoint.openapi.pieces import FORM, Piece
from chatapi.endpoint.openapi.refusals import PROTOCOL

_FOLDER = files("chatapi") / "data" / "docs"
STYLE = (_FOLDER / "style.css").read_text("utf-8")
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
METHODS = ("get", "post", "put", "patch", "delete")
BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more items",
}


def page(document: Piece) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"words": _words, "kind": _kind, "name": _name}
    template = environment.from_string((_FOLDER / "page.html").read_text("utf-8"))
    resolve = _Resolver(document)
    groups = [
        (tag, [operation for operation in _operations(document, resolve) if tag["name"] in operation["tags"]])
        for tag in document["tags"]
    ]
    return template.render(
        document=document, style=Markup(STYLE), groups=[group for group in groups if group[1]], resolve=resolve
    )


class _Resolver:
    """Finds what a `$ref` points to."""

    def __init__(self, document: Piece) -> None:
        self._document = document

    def __call__(self, piece: Any) -> Any:
        """The piece, or what it points to."""
        if not isinstance(piece, dict) or "$ref" not in piece:
            return piece
        found: Any = self._document
        for name in piece["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found


def _operations(document: Piece, resolve: _Resolver) -> Iterator[Piece]:
    """All operations but those that every route has, each with what the page says besides."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                replies = {
                    status: resolve(reply)
                    for status, reply in item[method]["responses"].items()
                    if int(status) not in PROTOCOL
                }
                told = {
                    "path": path,
                    "method": method.upper(),
                    "replies": replies,
                    "public": "security" in item[method],
                }
                parameters = [resolve(parameter) for parameter in item[method].get("parameters", ())]
                yield item[method] | told | {"parameters": parameters, "curl": _curl(path, method, item[method])}


def _curl(path: str, method: str, operation: Piece) -> str:
    """A command that asks this, with `$URL` and `$TOKEN` for the address and the access token."""
    for parameter in operation.get("parameters", ()):
        if parameter.get("in") == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    usual = "POST" if "requestBody" in operation else "GET"
    parts = [f"curl -s $URL{path}" if method.upper() == usual else f"curl -s -X {method.upper()} $URL{path}"]
    queries = [parameter for parameter in operation.get("parameters", ()) if parameter.get("in") == "query"]
    queries = [query for query in queries if "example" in query]
    if queries:
        parts[0] = parts[0].replace("-s", "-s -G")
    parts += [f"--data-urlencode {quote(query['name'] + '=' + query['example'])}" for query in queries]
    if "security" not in operation:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
        example = content["example"]
        if media_type == FORM:
            parts += [f"-F {quote(f'{name}={value}')}" for name, value in example.items()]
        else:
            data = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
            parts += [f"-H 'Content-Type: {media_type}'", f"-d {quote(data)}"]
    return " \\\n  ".join(parts)


def _words(text: str) -> Markup:
    """Markdown's paragraphs and code, which is all that the descriptions use."""
    paragraphs = (re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part))) for part in text.split("\n\n"))
    return Markup("".join(f"<p>{part}</p>" for part in paragraphs))


def _name(piece: Piece) -> str:
    """The name of what a `$ref` points to, else nothing."""
    return str(piece.get("$ref", "")).rpartition("/")[2]


def _kind(piece: Any) -> str:
    """What a schema asks for, in a few words."""
    if not isinstance(piece, dict):
        return "must be absent"
    kinds = piece.get("type", "")
    said = [" or ".join(kinds) if isinstance(kinds, list) else str(kinds)]
    if "const" in piece:
        said.append(f"always {json.dumps(piece['const'])}")
    if "enum" in piece:
        said.append("one of " + ", ".join(json.dumps(value) for value in piece["enum"]))
    if "pattern" in piece:
        said.append(f"matches {piece['pattern']}")
    said += [words.format(f"{piece[name]:,}") for name, words in BOUNDS.items() if piece.get(name)]
    return ", ".join(part for part in said if part)
