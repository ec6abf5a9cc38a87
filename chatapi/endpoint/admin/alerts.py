"""Alerts of a tenant, and whether its webhooks have taken them."""

from __future__ import annotations

from typing import Literal, cast

import orjson
from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Role
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Id, Instant, ListOf, Page, Reply
from chatapi.logic import webhooks as logic

State = Literal["pending", "delivered", "given_up"]

resources = Resources("admin_alerts", __name__)


class AlertQuery(Page):
    """Which alerts."""

    state: State | None = Field(None, description="Only of this state.")
    webhook_id: Id | None = Field(None, description="Only of this webhook.")


class AlertRecord(Reply):
    """An alert."""

    id: str = Field(description="Also the event's, at every try.")
    webhook_id: str
    type: str
    state: State
    tries: int = Field(description="How often it was sent, or was about to be.")
    problem: str | None = Field(description="Why the last try failed, or why nothing more is sent.")
    raised_at: Instant
    next_try_at: Instant | None = Field(description="Null once it has ended.")
    ended_at: Instant | None
    event: dict[str, object] = Field(description="What is sent.")


@resources.operation(
    "GET",
    "/admin/tenants/{tenant_id}/alerts",
    needs=Role.ADMIN,
    summary="List alerts",
    description="Newest first; those that ended are kept for 92 days.",
)
def list_alerts(actor: Actor, tenant_id: str, query: AlertQuery) -> ListOf[AlertRecord]:
    """A page of them."""
    found = logic.page_of_alerts(
        runtime(),
        tenant_id,
        query.read_after_id(),
        query.limit + 1,
        state=query.state,
        webhook_id=query.webhook_id,
    )
    return query.page(map(alert_record, found), key=lambda record: record.id)


def alert_record(alert: logic.Alert) -> AlertRecord:
    """An alert as it is shown."""
    event = orjson.loads(alert.body)
    return AlertRecord(
        id=alert.id,
        webhook_id=alert.webhook_id,
        type=event["type"],
        state=cast(State, alert.state),
        tries=alert.tries,
        problem=alert.problem,
        raised_at=alert.raised_at,
        next_try_at=alert.next_try_at if alert.ended_at is None else None,
        ended_at=alert.ended_at,
        event=event,
    )
