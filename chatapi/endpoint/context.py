"""What every endpoint reaches for: the runtime of the app that it serves."""

from __future__ import annotations

from typing import cast

from flask import Flask, current_app, g, request

from chatapi.domain.usage import Usage
from chatapi.endpoint.connections import Connection
from chatapi.logic.calls import Answer
from chatapi.logic.idempotency import Replay
from chatapi.logic.runtime import Runtime
from chatapi.logic.streams import MeteredStream

KEY = "chatapi"


def attach(app: Flask, runtime: Runtime) -> None:
    """Let the app's endpoints find the runtime."""
    app.extensions[KEY] = runtime


def runtime() -> Runtime:
    """The runtime of the current app."""
    return cast(Runtime, current_app.extensions[KEY])


def client() -> Connection | None:
    """Who waits for this request's answer, watched from now on; None where the server cannot watch (not gunicorn).

    Ask for it when the request's body has been read.
    """
    connection = request.environ.get("gunicorn.socket")
    if not isinstance(connection, Connection):
        return None
    connection.watch()
    return connection


def note_call(served: Answer | MeteredStream | Replay) -> None:
    """Let the request's log line name the call and its tokens; what is given again has the call's alone."""
    if isinstance(served, Replay):
        g.line.call_id = served.call_id
        return
    g.line.call_id = served.grant.call.call_id

    def usage() -> Usage | None:
        return served.usage

    g.line.usage = usage
