"""The tables of what administrators do: invitations, grants, prices, webhooks, upstream keys, and the trail of it all.

With this module the metadata is whole: `storage/tables.py` has the others.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, LargeBinary, Table, Text, text

from chatapi.storage.columns import ID, UtcDateTime, belongs_to, one_of, tenant_column
from chatapi.storage.tables import metadata

__all__ = [
    "INSTALLATION",
    "alerts",
    "grants",
    "invitations",
    "metadata",
    "price_overrides",
    "trail",
    "upstream_keys",
    "webhooks",
]

invitations = Table(  # a one-time link by which a user sets its first password
    "invitations",
    metadata,
    tenant_column(),
    Column("user_id", ID, primary_key=True),
    Column("digest", Text, nullable=False),  # of the link's secret
    Column("expires_at", UtcDateTime, nullable=False),
    belongs_to("users", ("tenant_id", "tenant_id"), ("user_id", "id")),
)

grants = Table(  # so much more than a limit, in one window of it
    "grants",
    metadata,
    tenant_column(),
    Column("scope_id", ID, primary_key=True),
    Column("window_key", Text, primary_key=True),
    Column("id", ID, primary_key=True),  # behind what admissions look for: with an index besides, a planner may err
    Column("scope", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("window", Text, nullable=False),
    Column("model", Text, nullable=False, server_default=""),
    Column("value", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("granted_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),  # the end of its window
    Column("withdrawn_at", UtcDateTime),
    one_of("scope", "access_token", "user", "tenant"),
    one_of("metric", "requests", "tokens", "cost"),
    one_of("window", "day", "month"),
    CheckConstraint("value > 0", name="value"),
    belongs_to("tenants", ("tenant_id", "id")),
)

price_overrides = Table(  # of the whole installation; the configuration's and the list's prices give way to them
    "price_overrides",
    metadata,
    Column("model", Text, primary_key=True),
    Column("begins_at", UtcDateTime, primary_key=True),
    Column("price", Text),  # JSON, as in envs/upstreams.toml; NULL: from then on no override holds
    Column("made_at", UtcDateTime, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    tenant_column(),
    Column("id", ID, primary_key=True),
    Column("url", Text, nullable=False),
    Column("sealed_secret", LargeBinary, nullable=False),  # signs what is sent
    Column("shares", Text, nullable=False),  # a JSON list of percentages of limits
    Column("status", Text, nullable=False, server_default="active"),
    Column("created_at", UtcDateTime, nullable=False),
    one_of("status", "active", "disabled", "deleted"),
    belongs_to("tenants", ("tenant_id", "id")),
)

alerts = Table(  # a limit of which a share has been used, told to a webhook
    "alerts",
    metadata,
    tenant_column(),
    Column("id", ID, primary_key=True),
    Column("webhook_id", ID, nullable=False),
    Column("occasion", Text, nullable=False),  # limit, window and share: each is told once
    Column("body", Text, nullable=False),  # JSON, as it is sent
    Column("state", Text, nullable=False, server_default="pending"),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("raised_at", UtcDateTime, nullable=False),
    Column("next_try_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("problem", Text),  # of the last try
    one_of("state", "pending", "delivered", "given_up"),
    belongs_to("webhooks", ("tenant_id", "tenant_id"), ("webhook_id", "id")),
    Index(None, "tenant_id", "webhook_id", "occasion", unique=True),
    Index(  # for the worker that delivers, which does so for all tenants
        "ix_alerts_pending",
        "next_try_at",
        postgresql_where=text("state = 'pending'"),
        sqlite_where=text("state = 'pending'"),
    ),
)

upstream_keys = Table(  # a tenant's own key for an upstream, which nobody can read back
    "upstream_keys",
    metadata,
    tenant_column(),
    Column("upstream", Text, primary_key=True),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    belongs_to("tenants", ("tenant_id", "id")),
)

trail = Table(  # who changed what: rows are only ever added
    "trail",
    metadata,
    tenant_column(),  # whose data it was; INSTALLATION where it was no tenant's
    Column("id", ID, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),  # a username, or `command:` and the name of who ran it on the machine
    Column("actor_id", ID),  # the user's; NULL for a command
    Column("address", Text, nullable=False, server_default=""),
    Column("action", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject", Text, nullable=False),  # its id or name
    Column("before", Text),  # JSON objects, of what changed only
    Column("after", Text),
    Index(None, "id"),  # for operators, who read of all tenants
)

INSTALLATION = "00000000-0000-0000-0000-000000000000"
"""Stands for a tenant's id where something belongs to no tenant."""
