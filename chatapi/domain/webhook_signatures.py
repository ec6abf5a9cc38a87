"""How what webhooks are sent is signed, so that a receiver knows that it is from here, whole, and no replay.

Source: Standard Webhooks 1.0.0, "Signature scheme" and "Webhook headers"
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md), whose libraries verify it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

PREFIX = "whsec_"
SECRET_BYTES = 32
OVERLAP = timedelta(hours=24)  # in which what is sent is signed with the secret before, too


def new_secret() -> str:
    """A secret as its receiver is given it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of a webhook: the one that signs, and the one before, for a while after it was replaced. Neither is
    in `repr`."""

    current: str = field(repr=False)
    before: str | None = field(default=None, repr=False)
    before_until: datetime | None = None

    def rotated(self, now: datetime) -> Secrets:
        """With a new one."""
        return Secrets(new_secret(), self.current, now + OVERLAP)

    def at(self, now: datetime) -> list[str]:
        """Those that sign at this instant."""
        old = self.before is not None and self.before_until is not None and now < self.before_until
        return [self.current, self.before] if old and self.before else [self.current]

    def dump(self) -> str:
        """As it is sealed."""
        until = None if self.before_until is None else self.before_until.isoformat()
        return orjson.dumps([self.current, self.before, until]).decode()

    @classmethod
    def load(cls, text: str) -> Secrets:
        """What `dump` wrote."""
        current, before, until = orjson.loads(text)
        return cls(current, before, None if until is None else datetime.fromisoformat(until))


def signed_headers(event_id: str, sent_at: int, body: bytes, signing: Sequence[str]) -> dict[str, str]:
    """The headers of one try.

    Args:
        event_id: the same at every try.
        sent_at: when this try is made, in seconds since 1970.
        body: as it is sent.
        signing: the secrets, each of which makes a signature.
    """
    signed = f"{event_id}.{sent_at}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix(PREFIX)) for secret in signing)
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in made),
    }
