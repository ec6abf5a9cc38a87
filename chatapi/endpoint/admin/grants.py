"""Grants to a tenant, its users and their access tokens: so much more than a limit, in the window that is open."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitPlace, LimitScope
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.principals import Role
from chatapi.domain.windows import Window
from chatapi.endpoint.admin.limits import AMOUNT, narrowed, target_of
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Id, Instant, ListOf, Note, Page, Reply, Text
from chatapi.logic import grants as logic
from chatapi.logic.grants import GrantFilter, LimitGrant
from chatapi.logic.limit_targets import LimitTarget

PATH = "/admin/tenants/{tenant_id}/grants"
OWN = "Nobody grants more to their own user or access token, and to a tenant as a whole only operators do: 403."

resources = Resources("admin_grants", __name__)


class NewGrant(Body):
    """So much more than a limit."""

    scope: Scope = Field(description="To a tenant as a whole, a user or an access token.", examples=["tenant"])
    user_id: Id | None = Field(None, description="Of the scope `user`.")
    access_token_id: Id | None = Field(None, description="Of the scope `access_token`.")
    metric: Metric
    window: Literal[Window.DAY, Window.MONTH] = Field(description="Of the limit per day, or per month.")
    model: Text | None = Field(None, description="Of the limit of this model; else of the one of all together.")
    value: Annotated[int, Field(ge=1, le=MOST_NANODOLLARS)] = Field(description=f"{AMOUNT}.")
    reason: Note = Field("", description="For people.")


class GrantRecord(Reply):
    """A grant."""

    id: str
    scope: Scope
    user_id: str | None
    access_token_id: str | None
    metric: Metric
    window: Window
    window_key: str = Field(description="The only day (YYYY-MM-DD) or month (YYYY-MM) in which it counts.")
    model: str | None
    value: int = Field(description=f"{AMOUNT}.")
    reason: str
    granted_at: Instant
    ends_at: Instant = Field(description="When its window ends.")
    withdrawn_at: Instant | None
    in_force: bool = Field(description="Whether it counts now.")


class GrantQuery(Page):
    """Which grants."""

    scope: Scope | None = None
    user_id: Id | None = None
    access_token_id: Id | None = None
    metric: Metric | None = None
    window: Literal[Window.DAY, Window.MONTH] | None = None
    model: Text | None = None
    in_force: bool = Field(False, description="Only those that count now.")


@resources.operation("GET", PATH, needs=Role.ADMIN, summary="List grants, newest first")
def list_grants(actor: Actor, tenant_id: str, query: GrantQuery) -> ListOf[GrantRecord]:
    """As the summary says."""
    asked = None if query.scope is None else LimitScope(query.scope)
    scope, scope_id = narrowed(asked, query.user_id, query.access_token_id)
    kind = None if scope is None else Scope(scope)
    wanted = GrantFilter(kind, scope_id, query.metric, query.window, query.model)
    tenant, before = LimitTarget(LimitScope.TENANT, tenant_id, tenant_id), query.read_after_id()
    found = logic.page_of_grants(runtime(), tenant, wanted, before, query.limit + 1, open_only=query.in_force)
    records = (_record(shown.grant, in_force=shown.in_force) for shown in found)
    return query.page(records, key=lambda record: record.id)


@resources.operation(
    "POST",
    PATH,
    needs=Role.ADMIN,
    status=201,
    summary="Grant more of a limit, in the window that is open now",
    description=(
        "It counts from the next call on, in every process, until the day or month ends that is open now at the "
        "tenant's, and in no other; several add up. Where there is no limit, there is nothing to grant: 400. " + OWN
    ),
)
def add_grant(actor: Actor, tenant_id: str, body: NewGrant) -> GrantRecord:
    """As the summary says."""
    target = target_of(tenant_id, LimitScope(body.scope), body.user_id, body.access_token_id)
    place = LimitPlace(body.metric, body.window, body.model or "")
    return _record(logic.add_grant(runtime(), actor, target, place, body.value, body.reason), in_force=True)


@resources.operation(
    "DELETE",
    PATH + "/{grant_id}",
    needs=Role.ADMIN,
    summary="Withdraw a grant",
    description=(
        "What is left of it is taken back from the next call on; what was used of it stays used. One whose window is "
        "over cannot be withdrawn: 409. " + OWN
    ),
)
def withdraw_grant(actor: Actor, tenant_id: str, grant_id: str) -> None:
    """As the summary says."""
    logic.withdraw_grant(runtime(), actor, grant_id, tenant_id)


def _record(grant: LimitGrant, *, in_force: bool) -> GrantRecord:
    return GrantRecord(
        id=grant.id,
        scope=grant.scope,
        user_id=grant.scope_id if grant.scope is Scope.USER else None,
        access_token_id=grant.scope_id if grant.scope is Scope.ACCESS_TOKEN else None,
        metric=grant.metric,
        window=grant.window,
        window_key=grant.window_key,
        model=grant.model or None,
        value=grant.value,
        reason=grant.reason,
        granted_at=grant.granted_at,
        ends_at=grant.ends_at,
        withdrawn_at=grant.withdrawn_at,
        in_force=in_force,
    )
