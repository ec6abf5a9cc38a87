"""`/v1/me`: what users may know of themselves. Nothing is metered, and nobody sees anything of anybody else."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from flask import Response, request

from chatapi.domain.names import can_be_kept
from chatapi.endpoint.context import runtime
from chatapi.endpoint.dialects import json_response
from chatapi.endpoint.policy import Auth, PolicedBlueprint, claims
from chatapi.errors import InvalidRequest
from chatapi.logic import denials, explain, me
from chatapi.logic.actors import find_actor
from chatapi.logic.me import CallState, Wanted
from chatapi.logic.sentences import sentences

MOST_CALLS = 100  # of a page
DEFAULT_CALLS = 20
LONGEST_MODEL = 256

T = TypeVar("T")

blueprint = PolicedBlueprint("me", __name__, Auth.BEARER)


class Query(StrEnum):
    """What may be asked for."""

    FROM = "from"
    TO = "to"
    MODEL = "model"
    LIMIT = "limit"
    AFTER = "after"
    STATE = "state"


@blueprint.get("/v1/me")
def who() -> Response:
    """Who asks, and how the limits stand."""
    _asked()
    return json_response(me.who(runtime(), claims()))


@blueprint.get("/v1/me/usage")
def usage() -> Response:
    """What was charged by day and model."""
    asked = _asked(Query.FROM, Query.TO, Query.MODEL)
    days = (_read(asked, Query.FROM, _day), _read(asked, Query.TO, _day))
    return json_response(me.usage(runtime(), claims(), *days, _read(asked, Query.MODEL, _model)))


@blueprint.get("/v1/me/calls")
def calls() -> Response:
    """A page of calls."""
    asked = _asked(Query.LIMIT, Query.AFTER, Query.STATE, Query.MODEL)
    wanted = Wanted(
        limit=_read(asked, Query.LIMIT, _number) or DEFAULT_CALLS,
        before=_read(asked, Query.AFTER, _id_of),
        state=_read(asked, Query.STATE, CallState),
        model=_read(asked, Query.MODEL, _model),
    )
    found, last, since = me.calls(runtime(), claims(), wanted)
    after = None if last is None else _cursor(last)
    return json_response(
        {"object": "list", "data": found, "has_more": after is not None, "after": after, "calls_since": since}
    )


@blueprint.get("/v1/me/calls/<call_id>")
def call(call_id: str) -> Response:
    """One call, explained; or a denial, whose id says all of it."""
    _asked()
    if call_id.startswith(denials.PREFIX):
        find_actor(runtime(), claims(), "")  # only while its access token is in force
        return json_response(denials.read_denial(runtime().settings.secret, call_id, claims()).as_record())
    found = explain.own_call(runtime(), claims(), call_id)
    return json_response(explain.as_record(found) | {"sentences": sentences(found)})


def _asked(*known: Query) -> dict[str, str]:
    """The parameters of the query.

    Raises:
        InvalidRequest: one is not known here, or is given twice.
    """
    for name, values in request.args.lists():
        if name not in known:
            may_be = f"What there is: {', '.join(known)}." if known else "There are none here."
            raise InvalidRequest(f"There is no parameter {name[:100]!r}. {may_be}", param=name[:100])
        if len(values) > 1:
            raise InvalidRequest(f"{name} is given more than once.", param=name)
    return request.args.to_dict()


SAYS = {
    Query.FROM: "a day, as YYYY-MM-DD",
    Query.TO: "a day, as YYYY-MM-DD",
    Query.MODEL: f"the name of a model, of 1 to {LONGEST_MODEL} characters",
    Query.LIMIT: f"a whole number from 1 to {MOST_CALLS}",
    Query.AFTER: "the `after` of an earlier page, as it came",
    Query.STATE: f"one of {', '.join(CallState)}",
}


def _read(asked: dict[str, str], name: Query, read: Callable[[str], T]) -> T | None:
    if name not in asked:
        return None
    try:
        return read(asked[name])
    except ValueError:
        raise InvalidRequest(f"{name} must be {SAYS[name]}.", param=name) from None


def _day(text: str) -> date:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _model(text: str) -> str:
    if not 0 < len(text) <= LONGEST_MODEL or not can_be_kept(text):
        raise ValueError(text)
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,2}", text) or int(text) > MOST_CALLS:
        raise ValueError(text)
    return int(text)


def _cursor(call_id: str) -> str:
    """Where to go on, in a form that nobody takes for anything else."""
    return base64.urlsafe_b64encode(UUID(call_id).bytes).rstrip(b"=").decode()


def _id_of(cursor: str) -> str:
    try:
        read = base64.b64decode(cursor + "==", altchars=b"-_", validate=True)
        call_id = str(UUID(bytes=read))
    except (binascii.Error, ValueError):
        raise ValueError(cursor) from None
    if _cursor(call_id) != cursor:
        raise ValueError(cursor)
    return call_id
