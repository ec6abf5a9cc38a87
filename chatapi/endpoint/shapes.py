"""Shapes: models of what routes of administration take and give, and reading a request by them.

Source: pydantic's strict mode, so that `"1"` is no number; what no field names is refused.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import orjson
from flask import request
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from chatapi.domain.names import can_be_kept, is_id
from chatapi.endpoint.bodies import json_object
from chatapi.errors import InvalidFields, InvalidRequest
from chatapi.logic.explain import utc

MOST_OF_PAGE = 100
DEFAULT_OF_PAGE = 20
LONGEST_CURSOR = 2000

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def _kept(text: str) -> str:
    if not can_be_kept(text):
        raise ValueError("has a character that cannot be kept")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_kept)]
"""A text of 1 to 256 characters that every database can keep."""

Note = Annotated[str, StringConstraints(max_length=256), AfterValidator(_kept)]
"""The same, or nothing."""


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("is no id")
    return text


Id = Annotated[str, AfterValidator(_id), Field(json_schema_extra={"format": "uuid"})]
"""An id as replies have it."""

Instant = Annotated[
    AwareDatetime,
    PlainSerializer(utc, return_type=str),
    Field(json_schema_extra={"format": "date-time"}),
]
"""An instant; written in UTC, as 2026-11-21T15:00:00Z."""


class Body(BaseModel):
    """What a request brings in JSON."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    refused_with: ClassVar[tuple[int, ...]] = ()
    """Statuses that what it says may be refused with, besides those of all bodies."""


class Query(BaseModel):
    """What a request's query says."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Reply(BaseModel):
    """What comes back in JSON."""

    model_config = ConfigDict(frozen=True)


class ListOf(Reply, Generic[T]):
    """A page of a list."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = Field(description="Whether there are more.")
    after: str | None = Field(description="Where the next page begins.")


class Page(Query):
    """Which page of a list."""

    limit: int = Field(DEFAULT_OF_PAGE, ge=1, le=MOST_OF_PAGE, description="How many at most.")
    after: str | None = Field(
        None, max_length=LONGEST_CURSOR, description="The `after` of an earlier page, as it came."
    )

    def read_after(self) -> str | None:
        """The key of the last one of the earlier page.

        Raises:
            InvalidRequest: it never was a cursor.
        """
        return None if self.after is None else _key_of(self.after)

    def read_after_id(self) -> str | None:
        """The same where the list is in the order of ids.

        Raises:
            InvalidRequest: it never was a cursor.
        """
        key = self.read_after()
        if key is not None and not is_id(key):
            raise _no_cursor()
        return key

    def page(self, found: Iterable[T], key: Callable[[T], str]) -> ListOf[T]:
        """The page, of what was found when one more was asked for than is wanted.

        Args:
            found: in order; one more than `limit` where there are more.
            key: by which the list is ordered and the next page begins.
        """
        data = list(found)
        has_more = len(data) > self.limit
        data = data[: self.limit]
        after = _cursor(key(data[-1])) if has_more else None
        return ListOf[Any](data=data, has_more=has_more, after=after)

    def page_until(self, found: Iterable[T], last: str | None) -> ListOf[T]:
        """The page, of what was found before looking stopped, which may be less than `limit`.

        Args:
            found: in order.
            last: the key of the last one that was looked at; None: of all.
        """
        return ListOf[Any](data=list(found), has_more=last is not None, after=None if last is None else _cursor(last))


def read_body(model: type[M]) -> M:
    """The request's body.

    Raises:
        InvalidRequest: it is no JSON object, or not one of this model; every field at fault is named.
    """
    return _validated(lambda: model.model_validate_json(orjson.dumps(json_object())))


def read_query(model: type[M]) -> M:
    """The request's query.

    Raises:
        InvalidRequest: a parameter is not known, given twice, or wrong.
    """
    given: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise InvalidRequest(f"{name[:100]} is given more than once.", param=name[:100])
        given[name] = values[0]
    return _validated(lambda: model.model_validate(given))


def _validated(read: Callable[[], M]) -> M:
    try:
        return read()
    except ValidationError as error:
        raise InvalidFields([(_place(each["loc"]), _problem(each)) for each in error.errors()]) from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)[:200]


def _problem(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "missing":
        return "is missing"
    return str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ").replace("Input ", "it ")


def _cursor(key: str) -> str:
    """Where to go on, in a form that nobody takes for anything else."""
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def _key_of(cursor: str) -> str:
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        if key and can_be_kept(key) and _cursor(key) == cursor:
            return key
    except (binascii.Error, ValueError):
        pass
    raise _no_cursor()


def _no_cursor() -> InvalidRequest:
    return InvalidRequest("after must be the `after` of an earlier page, as it came.", param="after")
