"""Operations: what a route does, takes and answers, in the one form that all modules beside this one use."""

from __future__ import annotations

from chatapi.endpoint.dialects import Dialect
from chatapi.endpoint.openapi.pieces import Piece, ref, reply, string
from chatapi.endpoint.openapi.refusals import OF_BODIES, OF_CALLS, REQUEST_ID, refused

OPEN: list[Piece] = []
"""The security of routes that need no access token."""


def operation(
    tag: str,
    name: str,
    summary: str,
    description: str,
    replies: Piece,
    *,
    request: Piece | None = None,
    public: bool = False,
) -> Piece:
    """One operation.

    Args:
        tag: the group in which it stands.
        name: its `operationId`.
        summary: what it does, in a line.
        description: the rest of what there is to know, in Markdown.
        replies: by status.
        request: the body that it takes.
        public: whether it needs no access token.
    """
    made: Piece = {"tags": [tag], "operationId": name, "summary": summary}
    if description:
        made["description"] = description
    if request is not None:
        made["requestBody"] = request
    made["responses"] = dict(sorted(replies.items()))
    if public:
        made["security"] = OPEN
    return made


def asked_in_json(dialect: Dialect, *statuses: int) -> Piece:
    """The refusals of a route that takes an access token and a body."""
    return refused(dialect, *OF_CALLS, *OF_BODIES, *statuses)


def options_of(path: str, operation_of_path: Piece, dialect: Dialect) -> Piece:
    """`OPTIONS`, which every route answers alike."""
    told = reply("The methods are in `Allow`.", headers=(REQUEST_ID, "Allow"))
    replies = {"204": told} | refused(dialect)
    name = f"options_{operation_of_path['operationId']}"
    made = operation("Methods", name, f"Tell the methods of {path}", "", replies, public=True)
    in_path = [_of_any_text(given) for given in operation_of_path.get("parameters", ()) if given.get("in") == "path"]
    return made | ({"parameters": in_path} if in_path else {})


def _of_any_text(parameter: Piece) -> Piece:
    """The same part of a path, of which no form is asked: what a path allows does not depend on what it names."""
    return parameter | {"schema": string(minLength=1)}


def head_of(get: Piece) -> Piece:
    """`HEAD`, where `GET` costs nothing: the same without a body."""
    replies = {
        status: told if "$ref" in told else {name: part for name, part in told.items() if name != "content"}
        for status, told in get["responses"].items()
    }
    summary = f"As GET, without the body: {get['summary'][0].lower()}{get['summary'][1:]}"
    return get | {
        "tags": ["Methods"],
        "operationId": f"head_{get['operationId']}",
        "summary": summary,
        "responses": replies,
    }


def query(name: str, description: str, piece: Piece, example: str) -> Piece:
    """A parameter of the query that must be there."""
    said = {"name": name, "in": "query", "required": True, "description": description}
    return said | {"schema": piece, "example": example}


def header(name: str) -> Piece:
    """A header of the request, which is a component."""
    return ref("parameters", name)
