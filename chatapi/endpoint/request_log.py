"""One line in the log for each request, when its reply has been sent. Never a prompt, a password or a key."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from flask import Flask, Response, g, request

from chatapi.domain.principals import Claims
from chatapi.domain.usage import Usage
from chatapi.endpoint.log_format import write_info

SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

log = structlog.get_logger()


@dataclass(slots=True)
class Line:
    """What the log will say of a request. `usage` is asked when the reply has ended: a stream knows it only then."""

    request_id: str
    method: str
    path: str
    started: float = field(default_factory=time.perf_counter)
    claims: Claims | None = None
    call_id: str | None = None
    usage: Callable[[], Usage | None] = lambda: None

    def know(self, claims: Claims) -> None:
        """The principal, once it is known."""
        self.claims = claims

    def write(self, status: int) -> None:
        """Write the line."""
        fields: dict[str, object] = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": status,
            "ms": round((time.perf_counter() - self.started) * 1000, 1),
        }
        if self.claims is not None:
            fields |= {"tenant": self.claims.tenant_id, "user": self.claims.user_id, "jti": self.claims.jti}
        if self.call_id is not None:
            fields["call"] = self.call_id
        usage = self.usage()
        if usage is not None:
            fields |= {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "source": usage.source.value,
            }
        write_info("request", fields)


def new_request_id() -> str:
    """An id for a request whose client gave none."""
    return f"req_{secrets.token_hex(12)}"


def install(app: Flask, *, trusted_proxies: int) -> None:
    """Give each request an id, kept from the client when it is sane, and log it when its reply has been sent.

    Where no proxy is trusted and one seems to be in front, all clients have one address, and share its login failures:
    that is said once.
    """

    warned = False

    @app.before_request
    def begin() -> None:
        nonlocal warned
        environ = request.environ
        if not trusted_proxies and not warned and "HTTP_X_FORWARDED_FOR" in environ:
            warned = True
            log.warning(
                "proxy_not_trusted", advice="if a proxy in front sets X-Forwarded-For, set CHATAPI_TRUSTED_PROXIES"
            )
        given = environ.get("HTTP_X_REQUEST_ID")
        request_id = given if given is not None and SANE_ID.fullmatch(given) else new_request_id()
        g.line = Line(request_id, request.method, request.path)

    @app.after_request
    def end(response: Response) -> Response:
        line: Line = g.line
        response.headers["X-Request-Id"] = line.request_id
        response.call_on_close(lambda: line.write(response.status_code))
        return response
