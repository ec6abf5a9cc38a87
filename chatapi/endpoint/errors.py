"""Errors: every way a request can fail, in the dialect of its route. The unexpected is a 500 without internals."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import structlog
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException, InternalServerError

from chatapi.domain.limits import Standing
from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import Dialect, dialect_of_request, render
from chatapi.endpoint.rate_limits import add_rate_limits
from chatapi.errors import ChatAPIError, InvalidRequest, QuotaDenied, Unavailable, UnknownAccessToken, UpstreamError
from chatapi.logic.standings import standings

NOTHING_HERE = "There is nothing at this address. GET /docs shows what there is."

log = structlog.get_logger()


def install(app: Flask) -> None:
    """Render domain errors, Flask's own, and the unexpected."""
    app.register_error_handler(ChatAPIError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _domain_error(error: ChatAPIError) -> Response:
    stand: Iterable[Standing] = ()
    if isinstance(error, QuotaDenied):
        stand = error.denial.standings
    elif isinstance(error, InvalidRequest | UpstreamError) and "claims" in g:
        error, stand = _as_the_principal_stands(error)
    response = render(error, dialect_of_request())
    if dialect_of_request() is Dialect.OPENAI:
        add_rate_limits(response, stand)
    return response


def _as_the_principal_stands(error: ChatAPIError) -> tuple[ChatAPIError, Iterable[Standing]]:
    """The error with how the limits stand; an access token that is not in force any more is the error to name first."""
    try:
        return error, standings(runtime(), g.claims)
    except (UnknownAccessToken, Unavailable) as other:
        return (other if isinstance(other, UnknownAccessToken) else error), ()


def _http_error(error: HTTPException) -> Response:
    """Flask's own refusals: no such route, wrong method, body too large."""
    if isinstance(error, InternalServerError):
        return _unexpected(error)
    said = NOTHING_HERE if error.code == HTTPStatus.NOT_FOUND else error.description or error.name
    problem = InvalidRequest(said, status=error.code or 400)
    response = render(problem, dialect_of_request())
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unexpected(error: Exception) -> Response:
    # The exception's message may quote what a client sent; its type and place are what a maintainer needs.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else None
    log.error("unexpected_error", request_id=g.line.request_id, error=type(error).__qualname__, where=where)
    return render(ChatAPIError("An internal error occurred."), dialect_of_request())
