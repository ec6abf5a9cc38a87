"""Dialects: in which shape a route's clients expect an error. The same domain error reads differently on each."""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, g, request

from chatapi.domain.limits import Denial
from chatapi.domain.user_csv import InvalidUserFile
from chatapi.domain.windows import Window
from chatapi.endpoint.context import runtime
from chatapi.errors import (
    ChatAPIError,
    Forbidden,
    InvalidAccessToken,
    InvalidCredentials,
    InvalidFields,
    InvalidInput,
    InvalidRequest,
    NotFound,
    QuotaDenied,
    Taken,
    TooManyLoginFailures,
    Unauthenticated,
    Unavailable,
    UnknownAccessToken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatapi.logic.denials import denial_id, denial_record

LONG_WAIT_S = 60  # beyond this, an SDK's own tries within seconds cannot help
PASSED_ON = frozenset({400, 404, 409, 413, 415, 422})  # an upstream's refusals that are about the request itself
DENIAL = "x-chatapi-denial"
PROBLEM_JSON = "application/problem+json"
SORRY = "申し訳ありませんが、エラーが発生しました。"


STATUSES = (
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Taken, 409),
    (InvalidInput, 400),
    (QuotaDenied, 429),
    (TooManyLoginFailures, 429),
    (Unavailable, 503),
)
CODES = {
    InvalidAccessToken: "invalid_api_key",
    UnknownAccessToken: "invalid_api_key",
    InvalidCredentials: "invalid_api_key",
    Forbidden: "forbidden",
    NotFound: "not_found",
    Taken: "conflict",
    TooManyLoginFailures: "too_many_failed_logins",
}


class Dialect(Enum):
    """The shapes of CONTRACT §1–2, §3 and §5, and that of administration."""

    ENVELOPE = auto()  # {"statu": false, "status": false, "message": …}
    TEXT = auto()  # a JSON string
    OPENAI = auto()  # {"error": {"message", "type", "param", "code"}}
    PROBLEM = auto()  # RFC 9457: {"type", "title", "status", "detail", "errors"}


def dialect_of_request() -> Dialect:
    """By path, so that a route that does not exist answers like its neighbours."""
    return dialect_of(request.path)


def dialect_of(path: str) -> Dialect:
    """The dialect below this path."""
    if path == "/v1" or path.startswith("/v1/"):
        return Dialect.OPENAI
    if path == "/admin" or path.startswith(("/admin/", "/invitation")):
        return Dialect.PROBLEM
    return Dialect.TEXT if path.startswith("/chatgpt_prompt") else Dialect.ENVELOPE


def json_response(value: object, status: int = 200) -> Response:
    """A reply in JSON."""
    return Response(orjson.dumps(value), status, mimetype="application/json")


def envelope(message: object, *, good: bool) -> dict[str, object]:
    """The envelope of CONTRACT §1 and §2: `statu` is its spelling, `status` the documented name."""
    return {"statu": good, "status": good, "message": message}


def render(error: ChatAPIError, dialect: Dialect) -> Response:
    """A domain error as a reply of the route."""
    status = status_of(error, dialect)
    if dialect is Dialect.OPENAI:
        response = json_response({"error": openai_error(error)}, status)
    elif dialect is Dialect.TEXT:
        response = json_response(SORRY if isinstance(error, UpstreamError) else _message(error), status)
    elif dialect is Dialect.PROBLEM:
        response = json_response(problem(error, status), status)
        response.mimetype = PROBLEM_JSON
    else:
        response = json_response(envelope(_message(error), good=False), status)
    _add_headers(response, error, dialect)
    return response


def status_of(error: ChatAPIError, dialect: Dialect) -> int:
    """The HTTP status of a domain error; an upstream's failure is 500 in CONTRACT §2 and 502 elsewhere."""
    if isinstance(error, InvalidRequest):
        return error.status
    if isinstance(error, UpstreamError):
        return _upstream_status(error, dialect)
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def _upstream_status(error: UpstreamError, dialect: Dialect) -> int:
    if dialect is Dialect.ENVELOPE and request.path.startswith("/api"):
        return 500
    if dialect is Dialect.OPENAI:
        if isinstance(error, UpstreamRefused) and error.status in PASSED_ON:
            return error.status or 502
        if isinstance(error, UpstreamRateLimited):
            return 429
        if isinstance(error, UpstreamTimeout):
            return 504
    return 502


def _message(error: ChatAPIError) -> str:
    if isinstance(error, QuotaDenied):
        return "Token access limit reached."
    if isinstance(error, UpstreamError):
        return f"An error occurred in the chatgpt request, {error.reason}"
    return str(error)


def openai_error(error: ChatAPIError) -> dict[str, Any]:
    """The error object that the official SDKs read."""

    def shape(kind: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
        return {"message": str(error), "type": kind, "param": param, "code": code}

    match error:
        case InvalidRequest():
            return shape("invalid_request_error", error.code, error.param)
        case Unauthenticated() | Forbidden() | InvalidInput() | TooManyLoginFailures():
            return shape("invalid_request_error", CODES.get(type(error)))
        case QuotaDenied():
            is_rate = error.denial.standing.limit.window in (Window.MINUTE, Window.AT_ONCE)
            kind = "rate_limit_exceeded" if is_rate else "insufficient_quota"
            return shape(kind, kind) | {"chatapi": _denied(error.denial)}
        case Unavailable():
            return shape("server_error", "service_unavailable")
        case UpstreamError() if error.body is not None:
            return {name: error.body.get(name) for name in ("message", "type", "param", "code")}
        case UpstreamRateLimited():
            return shape("rate_limit_exceeded", "upstream_rate_limited")
        case UpstreamError():
            return shape("upstream_error", "upstream_error")
    return shape("server_error", "internal_error")


def problem(error: ChatAPIError, status: int) -> dict[str, object]:
    """The problem details of RFC 9457; `errors` names every field at fault."""
    told: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    told["detail"] = str(error)
    if isinstance(error, InvalidFields):
        told["errors"] = [{"field": name, "problem": what} for name, what in error.problems]
    elif isinstance(error, InvalidRequest) and error.param is not None:
        told["errors"] = [{"field": error.param, "problem": str(error)}]
    elif isinstance(error, InvalidUserFile):
        wrong = "1 line is" if len(error.problems) == 1 else f"{len(error.problems)} lines are"
        told["detail"] = f"{wrong} wrong, so nothing was done with any."
        told["errors"] = [{"field": f"line {each.line}", "problem": each.what} for each in error.problems]
    return told


def _denied(denial: Denial) -> dict[str, object]:
    """A denial for programs; the SDKs pass over what they do not know."""
    return {"id": _denial_id(denial)} | denial_record(denial)


def _denial_id(denial: Denial) -> str:
    """By which it is explained again; only calls are denied, so somebody has been let in."""
    return denial_id(runtime().settings.secret, g.claims, denial)


def _challenge() -> str:
    """What RFC 6750 has a 401 say: an error only to who sent an access token."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return 'Bearer error="invalid_token"' if scheme.lower() == "bearer" and credentials.strip() else "Bearer"


def _add_headers(response: Response, error: ChatAPIError, dialect: Dialect) -> None:
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(error, QuotaDenied):
        wait_s = error.denial.retry_after_s
        response.headers[DENIAL] = _denial_id(error.denial)
    if wait_s is not None:
        response.headers["Retry-After"] = str(wait_s)
    if isinstance(error, InvalidAccessToken | UnknownAccessToken):
        response.headers["WWW-Authenticate"] = _challenge()
    if dialect is Dialect.OPENAI and wait_s is not None and wait_s > LONG_WAIT_S:
        response.headers["x-should-retry"] = "false"
