"""Limits of a tenant, its users and their access tokens: what was set, and what follows from it for a user."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitPlace, LimitScope, LimitSetting, LimitSource, Unset
from chatapi.domain.limits import Metric, Scope
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.names import can_be_kept, is_id
from chatapi.domain.principals import Role
from chatapi.domain.windows import Window
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Id, Instant, ListOf, Page, Query, Reply, Text
from chatapi.errors import InvalidFields, InvalidRequest, NotFound
from chatapi.logic import effective_limits
from chatapi.logic import limits as logic
from chatapi.logic.effective_limits import LimitStanding
from chatapi.logic.limit_targets import LimitTarget
from chatapi.logic.limits import KeptLimit, LimitFilter

resources = Resources("admin_limits", __name__)

AMOUNT = "Requests, tokens or nano-dollars, as `metric` says"
WHO = "`tenant`: as a whole; `each_user`: every user that has none of its own; `user`, `access_token`: the one named."
OWN = (
    "Nobody changes limits of their own: that of your own user or access token is refused with 403; and so is one for "
    "each user that would raise yours, unless an operator sets it. Those of a tenant as a whole are for operators."
)
Amount = Annotated[int, Field(ge=0, le=MOST_NANODOLLARS)]


class LimitIdentity(Query):
    """Which limit."""

    scope: LimitScope = Field(description=WHO)
    user_id: Id | None = Field(None, description="Of the scope `user`.")
    access_token_id: Id | None = Field(None, description="Of the scope `access_token`.")
    metric: Metric
    window: Window
    model: Text | None = Field(None, description="As upstreams name it; else of all models together.")


class NewLimit(Body):
    """A limit."""

    scope: LimitScope = Field(description=WHO, examples=["each_user"])
    user_id: Id | None = Field(None, description="Of the scope `user`.")
    access_token_id: Id | None = Field(None, description="Of the scope `access_token`.")
    metric: Metric
    window: Window = Field(examples=["day"])
    model: Text | None = Field(None, description="As upstreams name it; else of all models together.")
    value: Amount | Literal["unlimited"] = Field(description=f"{AMOUNT}; 0 is nothing.")


class LimitRecord(Reply):
    """A limit that was set."""

    scope: LimitScope
    user_id: str | None
    access_token_id: str | None
    metric: Metric
    window: Window
    model: str | None
    value: int | Literal["unlimited"] = Field(description=f"{AMOUNT}.")
    changed_at: Instant


class LimitQuery(Page):
    """Which of the limits that were set."""

    scope: LimitScope | None = None
    user_id: Id | None = None
    access_token_id: Id | None = None
    metric: Metric | None = None
    window: Window | None = None
    model: Text | None = None


class GrantedPart(Reply):
    """A part of a limit that was granted for the window that is open."""

    id: str
    value: int
    reason: str
    granted_at: Instant


class EffectiveLimitRecord(Reply):
    """A limit in force, and how it stands."""

    scope: Scope
    metric: Metric
    window: Window
    model: str | None
    value: int | None = Field(description=f"{AMOUNT}, with what was granted; null: unlimited, and somebody said so.")
    source: LimitSource = Field(description="Set for this scope, for each user of the tenant, or for all.")
    granted: int = Field(description="How much of the value was granted for the window that is open only.")
    grants: list[GrantedPart]
    used: int
    held: int = Field(description="Set aside for calls in flight.")
    left: int | None = Field(description="Neither used nor held.")
    resets_at: Instant | None = Field(description="When the window ends; null of what is held at once.")


class EffectiveLimits(Reply):
    """All limits that somebody's calls must keep."""

    object: Literal["list"] = "list"
    data: list[EffectiveLimitRecord]


class EffectiveQuery(Query):
    """Of which access token besides."""

    access_token_id: Id | None = Field(None, description="Of this access token of the user's, too.")


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/limits",
    needs=Role.ADMIN,
    summary="List the limits that were set in a tenant",
    description="What is inherited is not among them: see a user's limits.",
)
def list_limits(actor: Actor, tenant_id: str, query: LimitQuery) -> ListOf[LimitRecord]:
    """As the summary says."""
    scope, scope_id = narrowed(query.scope, query.user_id, query.access_token_id)
    wanted = LimitFilter(scope, scope_id, query.metric, query.window, query.model)
    after, tenant = query.read_after(), LimitTarget(LimitScope.TENANT, tenant_id, tenant_id)
    last = None if after is None else _read_cursor(after)
    found = logic.page_of_limits(runtime(), tenant, wanted, last, query.limit + 1)
    return query.page(map(_record, found), key=lambda record: _cursor(record, tenant_id))


@resources.operation(
    "PUT",
    "/admin/tenants/{tenant_id}/limits",
    needs=Role.ADMIN,
    summary="Set a limit",
    description=f"It holds from the next call on, in every process. {OWN}",
)
def set_limit(actor: Actor, tenant_id: str, body: NewLimit) -> LimitRecord:
    """As the summary says."""
    setting: LimitSetting = Unset.UNLIMITED if body.value == "unlimited" else body.value
    target = target_of(tenant_id, body.scope, body.user_id, body.access_token_id)
    kept = logic.set_limit(runtime(), actor, target, _place(body), setting)
    assert kept is not None
    return _record(kept)


@resources.operation(
    "DELETE",
    "/admin/tenants/{tenant_id}/limits",
    needs=Role.ADMIN,
    summary="Remove a limit: what is inherited holds again",
    description=f"404 where it was not set. {OWN}",
)
def remove_limit(actor: Actor, tenant_id: str, query: LimitIdentity) -> None:
    """As the summary says."""
    target = target_of(tenant_id, query.scope, query.user_id, query.access_token_id)
    if logic.set_limit(runtime(), actor, target, _place(query), Unset.INHERIT) is None:
        raise NotFound("There is no such limit.")


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/users/{user_id}/limits",
    needs=Role.ADMIN,
    summary="The limits that a user's calls must keep, and how they stand",
    description="Its own or inherited, and its tenant's. What is unlimited is in no list, unless somebody said so.",
)
def list_effective_limits(actor: Actor, tenant_id: str, user_id: str, query: EffectiveQuery) -> EffectiveLimits:
    """As the summary says."""
    target = LimitTarget(LimitScope.USER, user_id, tenant_id)
    found = effective_limits.standings_of(runtime(), target, access_token_id=query.access_token_id)
    return EffectiveLimits(data=[_effective(standing) for standing in found])


def target_of(tenant_id: str, scope: LimitScope, user_id: str | None, access_token_id: str | None) -> LimitTarget:
    """Whom a body or a query names.

    Raises:
        InvalidFields: an id is missing that the scope needs, or there is one that it does not have.
    """
    ids = {"user_id": (LimitScope.USER, user_id), "access_token_id": (LimitScope.ACCESS_TOKEN, access_token_id)}
    problems = []
    for name, (of, identity) in ids.items():
        if of is scope and identity is None:
            problems.append((name, f"is missing: the scope is {scope}"))
        elif of is not scope and identity is not None:
            problems.append((name, f"is none of the scope {scope}"))
    if problems:
        raise InvalidFields(problems)
    return LimitTarget(scope, user_id or access_token_id or tenant_id, tenant_id)


def narrowed(
    scope: LimitScope | None, user_id: str | None, access_token_id: str | None
) -> tuple[LimitScope | None, str | None]:
    """What a filter by these comes to.

    Raises:
        InvalidRequest: they exclude each other.
    """
    if user_id is None and access_token_id is None:
        return scope, None
    of = LimitScope.USER if user_id is not None else LimitScope.ACCESS_TOKEN
    if (user_id is not None and access_token_id is not None) or scope not in (None, of):
        raise InvalidRequest("Of scope, user_id and access_token_id give those that belong together.", param="scope")
    return of, user_id or access_token_id


def _place(asked: NewLimit | LimitIdentity) -> LimitPlace:
    return LimitPlace(asked.metric, asked.window, asked.model or "")


def _cursor(record: LimitRecord, tenant_id: str) -> str:
    scope_id = record.user_id or record.access_token_id or tenant_id
    return orjson.dumps([record.scope, scope_id, record.metric, record.window, record.model or ""]).decode()


def _read_cursor(cursor: str) -> list[str]:
    try:
        key = orjson.loads(cursor)
    except ValueError:
        key = None
    is_key = isinstance(key, list) and len(key) == 5 and all(isinstance(part, str) for part in key)
    if is_key and is_id(key[1]) and all(map(can_be_kept, key)):
        return list(key)
    raise InvalidRequest("after must be the `after` of an earlier page, as it came.", param="after")


def _record(kept: KeptLimit) -> LimitRecord:
    row = kept.row
    return LimitRecord(
        scope=LimitScope(row.scope),
        user_id=row.scope_id if row.scope == LimitScope.USER else None,
        access_token_id=row.scope_id if row.scope == LimitScope.ACCESS_TOKEN else None,
        metric=row.metric,
        window=row.window,
        model=row.model or None,
        value="unlimited" if row.value is None else row.value,
        changed_at=kept.changed_at,
    )


def _effective(standing: LimitStanding) -> EffectiveLimitRecord:
    limit = standing.limit
    return EffectiveLimitRecord(
        scope=limit.scope,
        metric=limit.metric,
        window=limit.window,
        model=limit.model or None,
        value=limit.value,
        source=limit.source,
        granted=limit.granted,
        grants=[
            GrantedPart(id=grant.id, value=grant.value, reason=grant.reason, granted_at=grant.granted_at)
            for grant in standing.grants
        ],
        used=standing.used or 0,
        held=standing.held or 0,
        left=standing.left,
        resets_at=standing.resets_at,
    )
