"""Webhooks of a tenant: where it is told that shares of limits have been reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chatapi.domain.actors import Actor
from chatapi.domain.alerts import DEFAULT_SHARES, MOST_SHARES
from chatapi.domain.principals import Role
from chatapi.domain.public_addresses import LONGEST_URL
from chatapi.endpoint.admin.alerts import AlertRecord, alert_record
from chatapi.endpoint.context import runtime
from chatapi.endpoint.resources import Resources
from chatapi.endpoint.shapes import Body, Instant, ListOf, Page, Reply
from chatapi.logic import webhooks as logic

PATH = "/admin/tenants/{tenant_id}/webhooks"
ONE = PATH + "/{webhook_id}"

resources = Resources("admin_webhooks", __name__)

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_URL,
        description="Where events are posted to: https, and public unless CHATAPI_WEBHOOK_PRIVATE_ADDRESSES is set.",
        examples=["https://alerts.example/chatapi"],
    ),
]
Shares = Annotated[
    list[Annotated[int, Field(ge=1, le=100)]],
    Field(min_length=1, max_length=MOST_SHARES, description="The shares of limits that are told, in percent."),
]


class NewWebhook(Body):
    """A webhook to be made."""

    url: Url
    shares: Shares = Field(list(DEFAULT_SHARES))


class WebhookChange(Body):
    """What is to be different; what is absent stays as it is."""

    url: Url | None = None
    shares: Shares | None = None
    status: Literal["active", "disabled"] | None = None


class WebhookRecord(Reply):
    """A webhook."""

    id: str
    url: str
    shares: list[int]
    status: Literal["active", "disabled"]
    created_at: Instant


class MadeWebhook(WebhookRecord):
    """A webhook that was just made."""

    secret: str = Field(description="What is sent is signed with it. It is shown this once.")


class MadeSecret(Reply):
    """A secret that was just made."""

    secret: str = Field(description="What is sent is signed with it. It is shown this once.")
    overlap_hours: int = Field(description="For so many hours what is sent is signed with the one before, too.")


@resources.operation(
    "POST",
    PATH,
    needs=Role.ADMIN,
    status=201,
    summary="Add a webhook",
    description="It is told which shares of limits per day and month are reached, also those that are reached already. "
    "docs/administration/alerts.md says what is sent, and how to verify it.",
)
def add_webhook(actor: Actor, tenant_id: str, body: NewWebhook) -> MadeWebhook:
    """Make one."""
    webhook, secret = logic.add_webhook(runtime(), actor, tenant_id, body.url, body.shares)
    record = _record(webhook)
    return MadeWebhook(
        id=record.id,
        url=record.url,
        shares=record.shares,
        status=record.status,
        created_at=record.created_at,
        secret=secret,
    )


@resources.operation("GET", PATH, needs=Role.ADMIN, summary="List webhooks")
def list_webhooks(actor: Actor, tenant_id: str, query: Page) -> ListOf[WebhookRecord]:
    """A page of them."""
    found = logic.page_of_webhooks(runtime(), tenant_id, query.read_after_id(), query.limit + 1)
    return query.page(map(_record, found), key=lambda record: record.id)


@resources.operation("GET", ONE, needs=Role.ADMIN, summary="Show a webhook")
def show_webhook(actor: Actor, tenant_id: str, webhook_id: str) -> WebhookRecord:
    """One of them."""
    return _record(logic.find_webhook(runtime(), tenant_id, webhook_id))


@resources.operation(
    "PATCH",
    ONE,
    needs=Role.ADMIN,
    summary="Change a webhook",
    description="What one that is disabled has not taken yet is given up.",
)
def change_webhook(actor: Actor, tenant_id: str, webhook_id: str, body: WebhookChange) -> WebhookRecord:
    """Change what is given."""
    is_active = None if body.status is None else body.status == "active"
    changed = logic.change_webhook(
        runtime(), actor, tenant_id, webhook_id, url=body.url, shares=body.shares, is_active=is_active
    )
    return _record(changed)


@resources.operation("DELETE", ONE, needs=Role.ADMIN, summary="Remove a webhook", description="Its alerts stay.")
def remove_webhook(actor: Actor, tenant_id: str, webhook_id: str) -> None:
    """Send nothing more to it."""
    logic.remove_webhook(runtime(), actor, tenant_id, webhook_id)


@resources.operation(
    "POST",
    ONE + "/secret",
    needs=Role.ADMIN,
    status=201,
    summary="Give a webhook another secret",
    description=f"For {logic.OVERLAP_HOURS} hours what is sent carries a signature with each of both.",
)
def rotate_secret(actor: Actor, tenant_id: str, webhook_id: str) -> MadeSecret:
    """Another one."""
    secret = logic.rotate_secret(runtime(), actor, tenant_id, webhook_id)
    return MadeSecret(secret=secret, overlap_hours=logic.OVERLAP_HOURS)


@resources.operation(
    "POST",
    ONE + "/test",
    needs=Role.ADMIN,
    status=202,
    summary="Send a test event",
    description="It is sent as alerts are, within seconds; the tenant's alerts say what became of it.",
)
def test_webhook(actor: Actor, tenant_id: str, webhook_id: str) -> AlertRecord:
    """Have it sent."""
    return alert_record(logic.add_test_event(runtime(), actor, tenant_id, webhook_id))


def _record(webhook: logic.Webhook) -> WebhookRecord:
    status: Literal["active", "disabled"] = "active" if webhook.status == "active" else "disabled"
    return WebhookRecord(
        id=webhook.id, url=webhook.url, shares=list(webhook.shares), status=status, created_at=webhook.created_at
    )
