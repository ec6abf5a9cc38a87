"""Who calls: roles, the states of users and tenants, the claims of an access token."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Role(StrEnum):
    """What a user may do: use the service, run its tenant, or run the whole installation."""

    USER = "user"
    ADMIN = "admin"
    OPERATOR = "operator"


class Status(StrEnum):
    """Whether a user or a tenant is served. Closed is final: nothing is ever deleted."""

    ACTIVE = "active"
    DISABLED = "disabled"
    CLOSED = "closed"


class Claims(NamedTuple):
    """What a verified access token says. It carries no role and no quota: those are read as they are now."""

    tenant_id: str
    user_id: str
    jti: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token as it is kept: signing these claims again gives the same JWT, byte for byte."""

    tenant_id: str
    user_id: str
    jti: str
    issued_at: datetime
    expires_at: datetime
