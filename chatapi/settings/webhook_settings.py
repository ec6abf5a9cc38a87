"""The settings of webhooks: where they may be, and how often what they do not take is sent again."""

from __future__ import annotations

from pydantic_settings import BaseSettings

from chatapi.settings.fields import named


class WebhookSettings(BaseSettings):
    """How alerts are sent."""

    webhook_private_addresses: bool = named(
        "CHATAPI_WEBHOOK_PRIVATE_ADDRESSES",
        default=False,
        description="Whether webhooks may be at addresses that are not public (loopback, too), and without TLS.",
    )
    webhook_retry_s: float = named(
        "CHATAPI_WEBHOOK_RETRY_S",
        default=10.0,
        gt=0,
        description="Pause before an alert is sent again for the first time; it doubles, up to an hour.",
    )
    webhook_give_up_hours: float = named(
        "CHATAPI_WEBHOOK_GIVE_UP_HOURS",
        default=72.0,
        gt=0,
        le=720,
        description="Hours after which an alert that nobody takes is given up.",
    )
