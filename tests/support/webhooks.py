"""Webhooks of a tenant, and the alerts that were raised for them."""

from __future__ import annotations

from chatapi.logic import webhooks
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from chatapi.storage.alerts import Alert

URL = "https://alerts.example/"


def add_webhook(runtime: Runtime, tenant_id: str, url: str = URL) -> str:
    """Its id."""
    return webhooks.add_webhook(runtime, command_actor(), tenant_id, url)[0].id


def alerts_of(runtime: Runtime, tenant_id: str) -> list[Alert]:
    """The newest first."""
    return webhooks.page_of_alerts(runtime, tenant_id, None, 100)
