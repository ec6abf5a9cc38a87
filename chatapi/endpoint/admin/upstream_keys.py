"""Tenants' own keys for upstreams: set and removed here, used by their calls, and never shown to anybody."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Instant, ListOf, Page, Reply
from chatapi.logic import upstream_keys as logic

PATH = "/admin/tenants/{tenant_id}/upstream_keys"
ONE = PATH + "/{upstream}"

resources = Resources("admin_upstream_keys", __name__)


class NewKey(Body):
    """A tenant's own key."""

    key: Annotated[str, StringConstraints(pattern=r"^[!-~]{8,1024}$")] = Field(
        repr=False,
        description="As the upstream gave it. It is encrypted, and nobody can read it back.",
        json_schema_extra={"format": "password", "writeOnly": True},
    )


class UpstreamKeyRecord(Reply):
    """That a tenant has a key of its own."""

    upstream: str
    set_at: Instant
    configured: bool = Field(description="False: there is no such upstream any more, so the key is not used.")


@resources.operation(
    "GET",
    PATH,
    needs=Role.ADMIN,
    summary="List a tenant's own upstream keys",
    description="For which upstreams there are keys, and since when; nothing of the keys themselves.",
)
def list_upstream_keys(actor: Actor, tenant_id: str, query: Page) -> ListOf[UpstreamKeyRecord]:
    """A page of them."""
    found = logic.keys_of(runtime(), tenant_id, after=query.read_after(), most=query.limit + 1)
    return query.page(map(_record, found), key=lambda record: record.upstream)


@resources.operation(
    "PUT",
    ONE,
    needs=Role.ADMIN,
    summary="Set a tenant's own key for an upstream",
    description=(
        "From the next admission on, in every process, the tenant's calls to this upstream go out with this key, and "
        "are on its account there. A model that an upstream with such a key serves is asked at no upstream without."
    ),
)
def set_upstream_key(actor: Actor, tenant_id: str, upstream: str, body: NewKey) -> UpstreamKeyRecord:
    """Set or replace it."""
    return _record(logic.set_key(runtime(), actor, tenant_id, upstream, body.key))


@resources.operation(
    "DELETE",
    ONE,
    needs=Role.ADMIN,
    summary="Remove a tenant's own key for an upstream",
    description="From the next admission on the tenant's calls go out with the installation's key again.",
)
def remove_upstream_key(actor: Actor, tenant_id: str, upstream: str) -> None:
    """Remove it."""
    logic.remove_key(runtime(), actor, tenant_id, upstream)


def _record(key: logic.UpstreamKey) -> UpstreamKeyRecord:
    return UpstreamKeyRecord(upstream=key.upstream, set_at=key.set_at, configured=key.configured)
