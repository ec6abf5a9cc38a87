"""What the server refuses before Flask sees it, or where Flask failed: in the dialect of the path, and never echoed.

Source of the kinds: gunicorn's `gunicorn.http.errors` and `Worker.handle_error`, whose own reply is HTML.
"""

from __future__ import annotations

from http import HTTPStatus

import structlog
from gunicorn.http import errors

from chatapi.endpoint.dialects import dialect_of, render
from chatapi.endpoint.request_log import new_request_id
from chatapi.errors import ChatAPIError, InvalidRequest

KINDS: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "The request line is too long"),
    errors.LimitRequestHeaders: (431, "The headers are too many or too long"),
    errors.ExpectationFailed: (417, "Only Expect: 100-continue is supported"),
    errors.UnsupportedTransferCoding: (501, "Only Transfer-Encoding: chunked is supported"),
    errors.InvalidHeader: (400, "A header is not well formed"),
    errors.InvalidHeaderName: (400, "The name of a header is not well formed"),
    errors.ObsoleteFolding: (400, "A header is folded over several lines"),
    errors.InvalidHTTPVersion: (400, "The HTTP version is not supported"),
}
OF_THE_SERVICE = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)  # they are InvalidHeader, too

log = structlog.get_logger()


def refusal(error: Exception, beginning: bytes, address: str) -> bytes:
    """The whole reply, which says that the connection ends with it. One line in the log tells the error's kind.

    Args:
        error: what gunicorn raised; its message may quote the request.
        beginning: the first bytes of the request, whose path chooses the dialect.
        address: the client's.
    """
    problem = _problem(error)
    response = render(problem, dialect_of(_path_of(beginning)))
    response.headers["X-Request-Id"] = request_id = new_request_id()
    response.headers["Connection"] = "close"
    said = {"request_id": request_id, "error": type(error).__name__, "address": address, "status": response.status_code}
    if isinstance(problem, InvalidRequest):
        log.warning("refused", **said)
    else:
        log.error("unexpected_error", **said, where=_place_of(error))
    status = f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}"
    head = "".join(f"{line}\r\n" for line in (status, *(f"{name}: {value}" for name, value in response.headers)))
    return head.encode("latin-1") + b"\r\n" + response.get_data()


def _problem(error: Exception) -> ChatAPIError:
    if isinstance(error, InvalidRequest):
        return error
    if isinstance(error, errors.ParseException) and not isinstance(error, OF_THE_SERVICE):
        kinds = (KINDS[kind] for kind in type(error).__mro__ if kind in KINDS)
        status, message = next(kinds, (400, "This is not HTTP as it should be"))
        return InvalidRequest(message, status=status)
    return ChatAPIError("An internal error occurred.")


def _path_of(beginning: bytes) -> str:
    words = beginning.split(b" ", 2)
    return words[1].partition(b"?")[0].decode("latin-1") if len(words) > 1 else ""


def _place_of(error: Exception) -> str | None:
    """Where it was raised, which a maintainer needs and which quotes nobody."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else None
