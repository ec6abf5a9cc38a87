"""Resources: routes that say once what they need, take and give; policy, validation and `/openapi.json` follow from it.

A handler's signature is its description: `actor` is who asks, `body` and `query` are models of what may be sent, other
parameters are parts of the path, and the type that it returns is what comes back (None: 204, nothing).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from flask import Response, request
from flask.sansio.app import App
from werkzeug.routing import BaseConverter

from chatapi.domain.actors import Actor
from chatapi.domain.names import is_id
from chatapi.domain.principals import Role
from chatapi.endpoint.context import runtime
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.endpoint.shapes import Body, Query, Reply, read_body, read_query
from chatapi.errors import Forbidden, NotFound
from chatapi.logic.actors import find_actor

Handler = Callable[..., Any]
ID = "_id"
"""The end of the names of what are ids in paths and in the database."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does, for who reads about it and for whoever checks it.

    Args:
        method: of HTTP.
        path: with `{names}`, as OpenAPI writes it.
        needs: the role that it takes.
        summary: what it does, in a line.
        description: the rest of what there is to know, in Markdown.
        status: of success.
        media: of the reply.
        body_media: of a body that is no JSON.
        name: of the operation, unique.
        body: the model of the body.
        query: the model of the query.
        reply: the model of the reply.
    """

    method: str
    path: str
    needs: Role
    summary: str
    description: str
    status: int
    media: tuple[str, ...]
    body_media: str | None
    name: str
    body: type[Body] | None = None
    query: type[Query] | None = None
    reply: type[Reply] | None = None
    parts: tuple[str, ...] = field(default=())


class _Id(BaseConverter):
    """Anything in the place of an id but the name of a route there, which has no other methods than its own."""

    regex = "(?!(?:import|current)$)[^/]+"


class Resources(PolicedBlueprint):
    """A blueprint of such routes; all of them take an access token."""

    def __init__(self, name: str, import_name: str) -> None:
        super().__init__(name, import_name, Auth.BEARER)
        self.operations: list[Operation] = []

    def register(self, app: App, options: dict[str, Any]) -> None:
        """Enter the routes."""
        app.url_map.converters.setdefault("id", _Id)
        super().register(app, options)

    def operation(
        self,
        method: str,
        path: str,
        *,
        needs: Role,
        summary: str,
        description: str = "",
        status: int | None = None,
        media: str | tuple[str, ...] = (),
        body_media: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Enter a route.

        Args:
            method: of HTTP.
            path: with `{names}`; `{tenant_id}` must be within the actor's reach.
            needs: the least role.
            summary: what it does, in a line.
            description: the rest, in Markdown.
            status: of success; 200, or 204 where nothing comes back.
            media: of replies that the handler makes itself.
            body_media: where the handler reads the body itself, and it is no JSON.
        """

        of_replies = (media,) if isinstance(media, str) else media

        def enter(handler: Handler) -> Handler:
            usual, read = _read(handler, path)
            done = status or usual
            told = Operation(method, path, needs, summary, description, done, of_replies, body_media, **read)
            self.operations.append(told)
            rule = re.sub(r"\{(\w+_id)\}", r"<id:\1>", path).replace("{", "<").replace("}", ">")
            self.add_url_rule(rule, told.name, _view(told, handler), methods=[method])
            return handler

        return enter


def _read(handler: Handler, path: str) -> tuple[int, dict[str, Any]]:
    """The usual status of success, and what else a handler's signature says of its operation."""
    hints = get_type_hints(handler)
    given = hints.get("return")
    return 204 if given is type(None) else 200, {
        "name": handler.__name__,
        "body": hints.get("body"),
        "query": hints.get("query"),
        "reply": given if inspect.isclass(given) and issubclass(given, Reply) else None,
        "parts": tuple(name for name in inspect.signature(handler).parameters if f"{{{name}}}" in path),
    }


def _view(operation: Operation, handler: Handler) -> Callable[..., Response]:
    query_model = operation.query or Query

    def view(**path: str) -> Response:
        actor = _admit(operation, path)
        given: dict[str, object] = dict(path)
        query = read_query(query_model)
        if operation.query is not None:
            given["query"] = query
        if operation.body is not None:
            given["body"] = read_body(operation.body)
        return _render(handler(actor, **given), operation.status)

    return view


def _admit(operation: Operation, path: dict[str, str]) -> Actor:
    """Who asks, if it may.

    Raises:
        UnknownAccessToken: it is not served any more.
        Forbidden: its role is too low, or its access token is for calls.
        NotFound: what the path names cannot be, or is out of its reach.
    """
    actor = find_actor(runtime(), claims(), request.remote_addr or "")
    if not actor.is_at_least(operation.needs):
        raise Forbidden(f"This takes the role {operation.needs}; yours is {actor.role}.")
    if actor.is_named and operation.needs is not Role.USER:
        raise Forbidden("Administration takes the access token that /token gives; yours was made by name, for calls.")
    for name, value in path.items():
        if name.endswith(ID) and not is_id(value):
            raise NotFound(f"There is no such {name.removesuffix(ID).replace('_', ' ')}.")
    tenant_id = path.get("tenant_id")
    if tenant_id is not None and not actor.reaches(tenant_id):
        raise NotFound("There is no such tenant.")
    return actor


def _render(result: object, status: int) -> Response:
    if isinstance(result, Response):
        return result
    if isinstance(result, Reply):
        return Response(result.model_dump_json(), status, mimetype="application/json")
    response = Response(status=status)
    del response.headers["Content-Type"]  # of nothing
    return response
