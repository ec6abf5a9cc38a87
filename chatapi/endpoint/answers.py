"""Replies to calls: made while the settlement is being written, and sent when it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Response, current_app, g

from chatapi.logic.running import Settling

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def hold_back(settling: Settling) -> None:
    """Let this request's reply wait for a settlement."""
    g.settling = settling


class AnswerResponse(Response):
    """A reply that waits for what it must not come before."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Make its status and headers, wait, and begin to send it."""
        settling: Settling | None = g.pop("settling", None)
        if settling is None:
            return super().__call__(environ, start_response)
        try:
            body, status, headers = self.get_wsgi_response(environ)
        finally:
            failed = _failure_of(settling)
        if failed is not None:
            refusal = current_app.finalize_request(current_app.handle_user_exception(failed), from_error_handler=True)
            return refusal(environ, start_response)
        start_response(status, headers)
        return body


def _failure_of(settling: Settling) -> Exception | None:
    try:
        settling.wait()
    except Exception as error:
        return error
    return None
