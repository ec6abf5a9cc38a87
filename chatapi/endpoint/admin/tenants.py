"""Tenants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role, Status
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Instant, ListOf, Page, Reply, Text
from chatapi.logic import tenants as logic
from chatapi.logic.tenants import Tenant

resources = Resources("admin_tenants", __name__)

ZONE = "An IANA name, such as Europe/Berlin."
STATUS = "`disabled` stops serving it and ends its access tokens; `closed` does so for ever."
NEAR_LIMIT = "What becomes of a call that fits under a limit only with a shorter completion: it is shortened or denied."

NearLimit = Literal["clamp", "refuse"]


class NewTenant(Body):
    """A tenant to be made."""

    name: Text = Field(examples=["acme"])
    timezone: Text | None = Field(None, description=f"{ZONE} The installation's by default.")


class TenantChange(Body):
    """What shall be different; what is absent or null stays."""

    name: Text | None = Field(None, description="For operators.", examples=["acme"])
    status: Status | None = Field(None, description=f"For operators. {STATUS}", examples=["active"])
    timezone: Text | None = Field(
        None,
        description=f"{ZONE} It begins when the tenant's month has ended, at once where nothing was counted yet.",
        examples=["Europe/Berlin"],
    )
    near_limit: NearLimit | None = Field(None, description=NEAR_LIMIT, examples=["refuse"])


class TenantRecord(Reply):
    """A tenant."""

    id: str
    name: str
    status: Status
    timezone: str = Field(description="In which its days and months begin.")
    next_timezone: str | None = Field(description="The one that comes after it.")
    next_timezone_from: Instant | None
    near_limit: NearLimit = Field(description=NEAR_LIMIT)
    created_at: Instant


class TenantQuery(Page):
    """Which tenants."""

    name: Text | None = Field(None, description="With which theirs begins, letter by letter.")
    status: Status | None = None


@resources.operation("GET", "/admin/tenants", needs=Role.OPERATOR, summary="List tenants", description="By name.")
def list_tenants(_: Actor, query: TenantQuery) -> ListOf[TenantRecord]:
    """All tenants, in pages."""
    found = logic.page_of_tenants(
        runtime(), name=query.name, status=query.status, after=query.read_after(), most=query.limit + 1
    )
    return query.page(map(_record, found), key=lambda record: record.name)


@resources.operation("POST", "/admin/tenants", needs=Role.OPERATOR, status=201, summary="Make a tenant")
def add_tenant(actor: Actor, body: NewTenant) -> TenantRecord:
    """Make one."""
    return _record(logic.add_tenant(runtime(), actor, body.name, timezone=body.timezone))


@resources.operation("GET", "/admin/tenants/{tenant_id}", needs=Role.ADMIN, summary="Read a tenant")
def read_tenant(_: Actor, tenant_id: str) -> TenantRecord:
    """Read one."""
    return _record(logic.tenant_of_id(runtime(), tenant_id))


@resources.operation(
    "PATCH",
    "/admin/tenants/{tenant_id}",
    needs=Role.ADMIN,
    summary="Change a tenant",
    description="Its name and status are for operators, and nobody can stop their own tenant.",
)
def change_tenant(actor: Actor, tenant_id: str, body: TenantChange) -> TenantRecord:
    """Change one."""
    changed = logic.change_tenant(
        runtime(),
        actor,
        tenant_id,
        name=body.name,
        status=body.status,
        timezone=body.timezone,
        near_limit=body.near_limit,
    )
    return _record(changed)


def _record(tenant: Tenant) -> TenantRecord:
    return TenantRecord.model_validate(
        {
            "id": tenant.id,
            "name": tenant.name,
            "status": tenant.status,
            "timezone": tenant.zone.name,
            "next_timezone": tenant.zone.next_name,
            "next_timezone_from": tenant.zone.next_from,
            "near_limit": tenant.near_limit,
            "created_at": tenant.created_at,
        }
    )
