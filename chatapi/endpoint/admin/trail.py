"""The trail: who changed what, when, from where, before and after."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Id, Instant, ListOf, Page, Reply, Text
from chatapi.logic.tenants import tenant_of_id
from chatapi.logic.trail import INSTALLATION, KeptEntry, page_of_trail

resources = Resources("admin_trail", __name__)

ORDER = (
    "Newest first. Only a bounded number of entries is looked through for one page: with a filter it may have few, or"
    " none, and `has_more` all the same. Entries are only ever added; the database refuses anything else."
)


class TrailEntry(Reply):
    """One change."""

    id: str
    tenant_id: str | None = Field(description="Whose data was changed; null: the installation's.")
    at: Instant
    actor: str = Field(description="A username; or `command:` and the account that ran a command on the machine.")
    actor_id: str | None = Field(description="The user's id; null for a command.")
    address: str = Field(description="Where the request came from; empty for a command.")
    action: str = Field(description="What was done, as `noun.verb`.")
    subject_kind: str = Field(description="What kind of thing was changed.")
    subject: str = Field(description="Its name or id.")
    before: dict[str, Any] | None = Field(description="Of what is different now; null: it was not there.")
    after: dict[str, Any] | None = Field(description="What it is now; null: it is gone, or there is nothing to say.")


class TenantTrailQuery(Page):
    """Which entries of a tenant."""

    action: Text | None = Field(None, description="What was done, in full, as `user.add`.")
    actor: Text | None = Field(None, description="The name of who did it.")
    subject: Text | None = Field(None, description="The name or id of what was changed.")


class TrailQuery(TenantTrailQuery):
    """Which entries."""

    tenant_id: Id | None = Field(None, description="Only of this tenant.")


@resources.operation("GET", "/admin/trail", needs=Role.OPERATOR, summary="Read the trail", description=ORDER)
def read_trail(_: Actor, query: TrailQuery) -> ListOf[TrailEntry]:
    """Of all tenants, and of the installation."""
    return _page(query, query.tenant_id)


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/trail",
    needs=Role.ADMIN,
    summary="Read a tenant's trail",
    description=ORDER,
)
def read_tenant_trail(_: Actor, tenant_id: str, query: TenantTrailQuery) -> ListOf[TrailEntry]:
    """Of one tenant."""
    return _page(query, tenant_of_id(runtime(), tenant_id).id)


def _page(query: TenantTrailQuery, tenant_id: str | None) -> ListOf[TrailEntry]:
    found = page_of_trail(
        runtime(),
        tenant_id,
        action=query.action,
        actor=query.actor,
        subject=query.subject,
        before=query.read_after_id(),
        most=query.limit,
    )
    return query.page_until(map(_record, found.entries), found.last)


def _record(kept: KeptEntry) -> TrailEntry:
    entry = kept.entry
    return TrailEntry(
        id=kept.id,
        tenant_id=None if entry.tenant_id == INSTALLATION else entry.tenant_id,
        at=entry.at,
        actor=entry.actor,
        actor_id=entry.actor_id,
        address=entry.address,
        action=entry.action,
        subject_kind=entry.subject_kind,
        subject=entry.subject,
        before=None if entry.before is None else dict(entry.before),
        after=None if entry.after is None else dict(entry.after),
    )
