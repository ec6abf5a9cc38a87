"""Every way in which ChatAPI refuses or fails, as one tree. Nothing here knows HTTP: `endpoint/errors.py` renders it.

ChatAPIError
├── ConfigurationError            a setting is missing or wrong; said at start, before anything is served
├── InvalidRequest                the request's shape or values are wrong (param, code)
│   ├── InvalidFields             several of its fields are (problems)
│   └── KeyTaken                  an earlier request has its idempotency key (repeat)
├── InvalidInput                  a command's or an administrator's input is wrong
│   ├── NotFound                  there is no such thing, or none within the asker's reach
│   └── Taken                     what would be made is there already, or something has happened meanwhile
├── Forbidden                     the asker's role does not allow it
├── Unauthenticated
│   ├── InvalidCredentials        unknown user or wrong password, indistinguishable
│   ├── InvalidAccessToken        no access token, or one that does not verify
│   └── UnknownAccessToken        a good signature, but unknown, revoked, expired, or its user or tenant is not active
├── TooManyLoginFailures          (retry_after_s)
├── QuotaDenied                   an admission was denied (denial)
├── Unavailable                   (retry_after_s) try again later; nothing was sent to an upstream
│   ├── DatabaseUnavailable
│   └── Overloaded                a bounded queue is full
└── UpstreamError                 (reason, may_have_run, status, retry_after_s)
    ├── UpstreamUnreachable       no connection: it never ran
    │   ├── UpstreamBusy          too many calls to it are under way from here
    │   └── UpstreamResting       all that could answer have failed just now, and are left alone for a while
    ├── UpstreamRefused           4xx: it did not run; the request is at fault
    ├── UpstreamRateLimited       429: it did not run
    ├── UpstreamFailed            5xx before any output: it did not run
    ├── UpstreamTimeout           sent, and silent for too long: it may have run
    └── UpstreamBroken            an answer that broke off or makes no sense: it ran
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chatapi.domain.idempotency import Repeat
    from chatapi.domain.limits import Denial


class ChatAPIError(Exception):
    """The root. `str(error)` is fit to be shown to the client: no secrets, no prompts, no internals."""


class ConfigurationError(ChatAPIError):
    """A setting is missing or wrong; the message says which one and what to do."""


class InvalidInput(ChatAPIError):
    """What an administrator gave is wrong; the message says what, one problem a line."""


class NotFound(InvalidInput):
    """There is no such thing; another tenant's reads exactly the same."""


class Taken(InvalidInput):
    """A name is taken, or the state of things is not the one any more that this was meant for."""


class Forbidden(ChatAPIError):
    """The role of who asks does not allow it."""

    def __init__(self, message: str = "Your role does not allow this.") -> None:
        super().__init__(message)


class InvalidRequest(ChatAPIError):
    """The request's shape or values are wrong.

    Args:
        message: what is wrong and what would be right.
        param: the field at fault, dotted, as OpenAI's errors name it.
        code: a short machine-readable reason, as OpenAI's errors have it.
        status: the HTTP status that says it best (400, 413, 415, …).
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class InvalidFields(InvalidRequest):
    """Fields of the request are wrong: `problems` has each one's name, dotted, and what is wrong with it."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name}: {problem}" for name, problem in problems), param=problems[0][0] or None)
        self.problems = tuple(problems)


class KeyTaken(InvalidRequest):
    """An earlier request has the idempotency key; `repeat` says which, and what this one is."""

    def __init__(self, repeat: Repeat) -> None:
        status = 422 if repeat.kind == "other_request" else 409
        super().__init__(repeat.explain(), code=f"idempotency_key_{repeat.kind}", status=status)
        self.repeat = repeat
        self.retry_after_s = repeat.retry_after_s


class Unauthenticated(ChatAPIError):
    """Nobody that we know."""


class InvalidCredentials(Unauthenticated):
    """Unknown user or wrong password: the two are not to be told apart."""

    def __init__(self) -> None:
        super().__init__("Invalid username or password")


class InvalidAccessToken(Unauthenticated):
    """There is no access token, or it does not verify."""


class UnknownAccessToken(Unauthenticated):
    """The signature is ours, but this access token is unknown or revoked, or its user or tenant is not active."""

    def __init__(self) -> None:
        super().__init__("Token does not exist. Please contact the administrator to apply.")


class TooManyLoginFailures(ChatAPIError):
    """Too many failed logins from here; `retry_after_s` says in how many seconds one may try again."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many failed logins. Try again in {retry_after_s} seconds.")
        self.retry_after_s = retry_after_s


class QuotaDenied(ChatAPIError):
    """The admission was denied; `denial` names the limit, its numbers and when to come back."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.explain())
        self.denial = denial


class Unavailable(ChatAPIError):
    """Not now; nothing was sent to an upstream. `retry_after_s` is a hint in seconds."""

    def __init__(self, message: str, *, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DatabaseUnavailable(Unavailable):
    """The database cannot answer."""

    def __init__(self, *, retry_after_s: int = 2) -> None:
        super().__init__("The database cannot answer now. Please try again.", retry_after_s=retry_after_s)


class RowLocked(DatabaseUnavailable):
    """Somebody else keeps a row locked that is needed; of other tenants the database would answer."""


class Overloaded(Unavailable):
    """A bounded queue is full."""


class UpstreamError(ChatAPIError):
    """A call to an upstream failed.

    Args:
        reason: what happened, without secrets or prompts.
        may_have_run: whether the model may have run, so that tokens may have been spent.
        status: the upstream's HTTP status, if it answered.
        retry_after_s: when the upstream asks to be tried again, in seconds.
        body: the upstream's error object (`{"message", "type", "param", "code"}`), if it sent one that may be shown.

    `began` says that the answer had begun: another upstream cannot be asked instead any more.
    """

    began = False

    def __init__(
        self,
        reason: str,
        *,
        may_have_run: bool = False,
        status: int | None = None,
        retry_after_s: int | None = None,
        body: dict[str, object] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.may_have_run = may_have_run
        self.status = status
        self.retry_after_s = retry_after_s
        self.body = body


class UpstreamUnreachable(UpstreamError):
    """No connection could be made: the model never ran."""


class UpstreamBusy(UpstreamUnreachable):
    """All connections from here to it are taken: nothing was sent, and nothing is known of how it is."""


class UpstreamResting(UpstreamUnreachable):
    """Whoever could answer has failed just now, and is left alone for a while: nothing was sent."""

    def __init__(self, rests_s: float) -> None:
        super().__init__("every upstream of this model has failed just now", retry_after_s=max(1, math.ceil(rests_s)))


class UpstreamRefused(UpstreamError):
    """The upstream refused the request (4xx): the model did not run."""


class UpstreamRateLimited(UpstreamError):
    """The upstream is rate limited (429): the model did not run."""


class UpstreamFailed(UpstreamError):
    """The upstream answered 5xx before any output: the model did not run."""


class UpstreamTimeout(UpstreamError):
    """The request was sent and nothing came for too long: the model may have run."""


class UpstreamBroken(UpstreamError):
    """The answer broke off or makes no sense: the model ran."""
