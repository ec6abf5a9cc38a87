"""What every route may refuse, and how: a status, its headers, and a body in the dialect of the route."""

from __future__ import annotations

from chatapi.endpoint.dialects import DENIAL, PROBLEM_JSON, SORRY, Dialect
from chatapi.endpoint.openapi.pieces import JSON, Piece, array, integer, nullable, obj, ref, reply, schema, string

REQUEST_ID = "X-Request-Id"
RETRY_AFTER = "Retry-After"
RATE_LIMITS = tuple(
    f"x-ratelimit-{what}-{metric}" for metric in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)
OF_LIMITS = (*RATE_LIMITS, "x-chatapi-clamped")
"""What an answer may say of limits."""
SHAPES = {Dialect.ENVELOPE: "Refusal", Dialect.TEXT: "RefusalText", Dialect.OPENAI: "Error", Dialect.PROBLEM: "Problem"}

WHY = {
    400: "The request is wrong; the message says what.",
    401: "No access token, or one that is not valid, expired, revoked, or of a user or tenant that is not served.",
    403: "The model is not one that you may ask; or your role does not allow it.",
    404: "There is no such thing, or none that is yours; or the upstream says so.",
    408: "The headers or the body came too slowly.",
    409: "A name is taken, or things are not so any more; the first request with this `Idempotency-Key` still runs; or "
    "the upstream says so.",
    413: "The body is too large.",
    414: "The request line is too long: above 65,536 bytes.",
    415: "Another media type or charset than is documented, or any Content-Encoding.",
    417: "An `Expect` other than `100-continue`.",
    422: "Another request has this `Idempotency-Key`; or the upstream refused the request.",
    429: "A quota is used up, or held by calls in flight; or too many logins have failed.",
    431: "A header field is longer than 8,190 bytes, or there are more than 100.",
    500: "A fault of this service: `An internal error occurred.`",
    501: "A `Transfer-Encoding` other than `chunked`.",
    502: "The upstream failed.",
    503: "The database cannot answer, or too many wait; nothing was sent to an upstream.",
    504: "The upstream was silent for too long.",
}
EVERYWHERE = (400, 408, 414, 417, 431, 500, 501)
"""What any request may meet, whatever route it names."""
OF_CALLS = (401, 403, 404, 429, 502, 503)
OF_BODIES = (413, 415)
OF_OPENAI = (409, 422, 504)
PROTOCOL = frozenset({408, 414, 417, 431, 501})
"""Of these, what is no matter of the route at all."""


def name_of(dialect: Dialect, status: int) -> str:
    """The name of the component that describes this refusal."""
    return f"{SHAPES[dialect]}{status}"


def refused(dialect: Dialect, *statuses: int) -> Piece:
    """Refusals with these statuses, and with those that any request may meet."""
    return {str(status): ref("responses", name_of(dialect, status)) for status in sorted({*EVERYWHERE, *statuses})}


def responses() -> Piece:
    """All refusals, as components."""
    return {name_of(dialect, status): _refusal(dialect, status) for dialect in Dialect for status in WHY}


def refusal(dialect: Dialect, why: str, *headers: str) -> Piece:
    """One that is a route's own."""
    media = PROBLEM_JSON if dialect is Dialect.PROBLEM else JSON
    return reply(why, {media: schema(SHAPES[dialect])}, (REQUEST_ID, *headers))


def _refusal(dialect: Dialect, status: int) -> Piece:
    made = refusal(dialect, WHY[status])
    headers: Piece = made["headers"]
    is_openai = dialect is Dialect.OPENAI
    if status == 401:
        headers["WWW-Authenticate"] = ref("headers", "WWW-Authenticate")
    if status == 503 or (status == 429 and not is_openai):
        headers[RETRY_AFTER] = ref("headers", RETRY_AFTER)
    elif status in {409, 429, 502, 504}:
        headers[RETRY_AFTER] = ref("headers", "Retry-After-if-known")
    if status == 429 and dialect is not Dialect.PROBLEM:
        headers[DENIAL] = ref("headers", DENIAL)
    if is_openai and status in {409, 429, 502, 503}:
        headers["x-should-retry"] = ref("headers", "x-should-retry")
    if is_openai and status not in PROTOCOL | {401, 500, 503}:
        headers |= {name: ref("headers", name) for name in RATE_LIMITS}
    return made


def headers() -> Piece:
    """The headers of replies, as components."""
    seconds = "Whole seconds after which it is worth trying again."
    named = {
        REQUEST_ID: _header(
            "Yours, if you sent a sane one; else one made here.", string(pattern="^[A-Za-z0-9._:-]{1,128}$")
        ),
        RETRY_AFTER: _header(seconds, integer()),
        "Retry-After-if-known": _header(seconds, integer(), required=False),
        "WWW-Authenticate": _header("RFC 6750.", string(pattern='^Bearer( error="invalid_token")?$')),
        "x-should-retry": _header(
            "`false` where an SDK's own tries within seconds cannot help.", string(enum=["false"]), required=False
        ),
        DENIAL: _header(
            "The id of the denial, where a limit denied a call: `GET /v1/me/calls/{id}` explains it.",
            string(pattern="^denial_[\\w-]+$"),
            required=False,
        ),
        "x-chatapi-clamped": _header(
            "To how many tokens a limit shortened each choice, where one did.", integer(), required=False
        ),
        "x-chatapi-idempotent-replay": _header(
            "`true` where the reply is one that was given before.", string(enum=["true"]), required=False
        ),
        "ETag": _header("Of this version's reply.", string(minLength=1)),
        "Cache-Control": _header("How long the reply may be kept.", string(minLength=1)),
        "Allow": _header("The methods of the route.", string(minLength=1)),
    }
    limits = "Of the limit on {} that has least left, where there is one: {}."
    what = {"limit": "its value", "remaining": "what is left of it", "reset": "when it begins anew, such as `3h5m12s`"}
    for name in RATE_LIMITS:
        _, _, kind, metric = name.split("-")
        piece = string(pattern=r"^(\d+h\d+m|\d+m)?\d+s$") if kind == "reset" else integer()
        named[name] = _header(limits.format(metric, what[kind]), piece, required=False)
    return named


def schemas() -> Piece:
    """The bodies of refusals."""
    no = {"type": "boolean", "const": False}
    message = string("What is wrong, and what would be right.", minLength=1)
    error = {
        "message": string("What is wrong, and what would be right."),
        "type": nullable(
            string("Its kind, such as `invalid_request_error`, `insufficient_quota` or `upstream_error`.")
        ),
        "param": nullable(string("The field at fault, if it is one.")),
        "code": nullable(string("Its reason in short, if it has one.")),
        "chatapi": schema("Denial"),
    }
    fault = {"field": string("Its name, dotted; or the line of a file."), "problem": string()}
    told = {
        "type": string(),
        "title": string("The status in words."),
        "status": integer(),
        "detail": string("What is wrong, and what would be right."),
        "errors": array(obj("field problem", fault, open=False), "Every field at fault."),
    }
    return {
        "Problem": obj("type title status detail", told, "Problem details (RFC 9457).", open=False),
        "Refusal": obj("statu status message", {"statu": no, "status": no, "message": message}, open=False),
        "RefusalText": string(f"What is wrong; `{SORRY}` when the upstream failed.", minLength=1),
        "Error": obj("error", {"error": obj("message type param code", error, open=False)}, open=False),
    }


def _header(description: str, piece: Piece, *, required: bool = True) -> Piece:
    return {"description": description, "required": required, "schema": piece}
