"""Reports and statements: streamed while they are read, and broken off rather than ended early."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import structlog
from flask import Response
from pydantic import AfterValidator, Field, StringConstraints

from chatapi.domain.actors import Actor
from chatapi.domain.csv_cells import MEDIA_TYPE
from chatapi.domain.principals import Role
from chatapi.domain.statements import LocalMonth
from chatapi.domain.usage_reports import DEFAULT_GROUPS, Group, Period, UsageFilter, read_groups
from chatapi.endpoint.context import client, runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Query, Text
from chatapi.errors import InvalidRequest, NotFound, Unavailable
from chatapi.logic import statements, usage
from chatapi.logic.row_streams import RowStream

log = structlog.get_logger()

MEDIA = ("application/json", "text/csv")
ANY_GROUP = f"({'|'.join(Group)})"
GROUPS = f"^(none|{ANY_GROUP}(,{ANY_GROUP}){{0,3}})$"
REPORT = """
One row for each of what it is grouped by, in order of tenant, time, user, access token and model. Days are those of
the tenant's time zone. As JSON the rows are in `data`, and `total` follows them; a cost of which any part is unknown is
null, and `known_cost_nanodollars` is the rest. As CSV (RFC 4180) a text that a spreadsheet would run begins with an
apostrophe. The reply is made while it is read: one that breaks off is not whole.
"""

resources = Resources("admin_reports", __name__)


def _a_day(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a day, as 2026-11-21") from None
    return text


Day = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    AfterValidator(_a_day),
    Field(json_schema_extra={"format": "date"}),
]


class Format(StrEnum):
    """How it is written."""

    JSON = "json"
    CSV = "csv"


class FormatQuery(Query):
    """How a statement is written."""

    format: Format = Field(Format.JSON, description="JSON or CSV.")


class UsageQuery(FormatQuery):
    """What a report is about."""

    group_by: Annotated[str, StringConstraints(pattern=GROUPS)] = Field(
        ",".join(DEFAULT_GROUPS), description="tenant, user, access_token, model, with commas between them; or none."
    )
    by: Period = Field(Period.DAY, description="The time that one row is about.")
    first: Day | None = Field(None, alias="from", description="The first local day.")
    last: Day | None = Field(None, alias="to", description="The last local day.")
    model: Text | None = Field(None, description="Only of this model.")
    user_id: UUID | None = Field(None, description="Only of this user.")
    access_token_id: UUID | None = Field(None, description="Only of this access token.")


@resources.operation(
    "GET", "/admin/reports/usage", needs=Role.OPERATOR, summary="Usage of all tenants", description=REPORT, media=MEDIA
)
def report_usage(actor: Actor, query: UsageQuery) -> Response:
    """Of all tenants."""
    return _usage(actor, query, None)


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/reports/usage",
    needs=Role.ADMIN,
    summary="Usage of a tenant",
    description=REPORT,
    media=MEDIA,
)
def report_tenant_usage(actor: Actor, tenant_id: str, query: UsageQuery) -> Response:
    """Of one."""
    return _usage(actor, query, tenant_id)


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/statements/{month}",
    needs=Role.ADMIN,
    summary="A month's statement",
    description=(
        "What the tenant was charged in a month (`2026-11`) of its calendar: in all, by model, and by user and model"
        " (`lines`); what may still change; and whether lines, total, counter and calls agree (`agrees`)."
    ),
    media=MEDIA,
)
def read_statement(actor: Actor, tenant_id: str, month: str, query: FormatQuery) -> Response:
    """Of one tenant."""
    try:
        wanted = LocalMonth.parse(month)
    except ValueError:
        raise NotFound("There is no such month; say it as 2026-11.") from None
    as_csv = query.format is Format.CSV
    stream = statements.open_statement(runtime(), actor, tenant_id, wanted, as_csv=as_csv)
    return _response(stream, query.format, f"statement-{wanted}")


def _usage(actor: Actor, query: UsageQuery, tenant_id: str | None) -> Response:
    if query.first is not None and query.last is not None and query.first > query.last:
        raise InvalidRequest("from must be a day before to, or the same.", param="from")
    wanted = UsageFilter(
        tenant_id=tenant_id,
        first_day=query.first,
        last_day=query.last,
        model=query.model,
        user_id=None if query.user_id is None else str(query.user_id),
        access_token_id=None if query.access_token_id is None else str(query.access_token_id),
        group_by=read_groups(query.group_by),
        by=query.by,
    )
    stream = usage.open_report(runtime(), actor, wanted, as_csv=query.format is Format.CSV)
    return _response(stream, query.format, "usage")


def _response(stream: RowStream, written: Format, name: str) -> Response:
    """The stream as a reply. Its transaction ends with it, also where its client leaves."""
    response = Response(_sent(stream))
    response.headers["Content-Type"] = "application/json" if written is Format.JSON else MEDIA_TYPE
    if written is Format.CSV:
        response.headers["Content-Disposition"] = f'attachment; filename="{re.sub("[^a-z0-9-]", "", name)}.csv"'
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(stream.close)
    connection = client()
    if connection is not None:
        connection.on_leave(stream.close)
    return response


def _sent(stream: RowStream) -> Iterator[bytes]:
    """The pieces. What cannot go on is broken off, as a connection that is lost: it never looks whole."""
    try:
        yield from stream
    except Unavailable as error:
        log.warning("report_broken_off", problem=str(error))
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error
