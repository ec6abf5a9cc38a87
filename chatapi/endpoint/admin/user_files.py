"""Users of a tenant as a file, in and out."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from itertools import chain, islice

import structlog
from flask import Response
from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.csv_cells import MEDIA_TYPE, csv_lines
from chatapi.domain.principals import Role
from chatapi.endpoint.admin.users import USERS
from chatapi.endpoint.bodies import text_body
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Query, Reply
from chatapi.errors import Unavailable
from chatapi.logic.user_exports import COLUMNS, export_users
from chatapi.logic.user_imports import MOST_LINES_OF_A_REQUEST, MOST_PASSWORDS_OF_A_REQUEST, import_csv

resources = Resources("admin_user_files", __name__)

log = structlog.get_logger()

CSV = "text/csv"
LINES_AT_ONCE = 200
IMPORT = f"""
The first line names the columns: `username`; `password` or `password_hash` (argon2id), without which only users that
exist are changed; and if wanted `tenant` (this one's name), `role`, `status`, `daily_requests`, `daily_tokens`. All of
the file is done or nothing: every line at fault is in `errors`. At most {MOST_LINES_OF_A_REQUEST} lines at once, and
{MOST_PASSWORDS_OF_A_REQUEST} passwords; `chatapi users import` takes any number.
"""
EXPORT = """
The columns are username, tenant, role, status, daily_requests and daily_tokens: what the import takes, except that
nobody's password nor hash is in it. A text that a spreadsheet would run begins with an apostrophe.
"""


class ImportQuery(Query):
    """How a file is imported."""

    dry_run: bool = Field(
        False,
        description="Check everything, say what would be done, and change nothing. Passwords are not compared: whoever "
        "the file gives one counts as changed.",
    )


class ImportRecord(Reply):
    """How many users an import made, changed and left as they are, or would have."""

    created: int
    changed: int
    unchanged: int
    dry_run: bool


@resources.operation(
    "POST",
    f"{USERS}/import",
    needs=Role.ADMIN,
    summary="Import users from a file",
    description=IMPORT,
    body_media=CSV,
)
def import_users(actor: Actor, tenant_id: str, query: ImportQuery) -> ImportRecord:
    """Import a file."""
    report = import_csv(runtime(), actor, tenant_id, text_body(CSV), dry_run=query.dry_run)
    return ImportRecord(
        created=report.created, changed=report.changed, unchanged=report.unchanged, dry_run=query.dry_run
    )


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/users.csv",
    needs=Role.ADMIN,
    summary="Export users as a file",
    description=EXPORT,
    media=CSV,
)
def export(_: Actor, tenant_id: str) -> Response:
    """Write a file, as it is read."""
    rows = export_users(runtime(), tenant_id)
    first = list(islice(rows, 1))  # what fails, fails before there is a status
    response = Response(_pieces(csv_lines(COLUMNS, chain(first, rows))), content_type=MEDIA_TYPE)
    response.headers["Content-Disposition"] = 'attachment; filename="users.csv"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _pieces(lines: Iterator[str]) -> Iterator[str]:
    """Some lines at once. What cannot go on is broken off, as a connection that is lost: it never looks whole."""
    try:
        while piece := "".join(islice(lines, LINES_AT_ONCE)):
            yield piece
            time.sleep(0)  # for whatever else runs here
    except Unavailable as error:
        log.warning("export_broken_off", problem=str(error))
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from error
