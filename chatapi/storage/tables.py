"""The tables.

`tenant_id` leads every primary key and index of tenant data, and no row is shared by two tenants, so that tenants can
be spread over database nodes; `usernames` and `workers` are small and belong to the installation.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    text,
)

from chatapi.storage import columns
from chatapi.storage.columns import ID, UtcDateTime, belongs_to, count, one_of, tenant_column

metadata = columns.metadata  # with all tables in it

installation = Table(
    "installation",
    metadata,
    Column("singleton", Integer, primary_key=True, autoincrement=False),
    Column("id", ID, nullable=False),
    Column("jwt_fingerprint", Text),  # of the secret that signs access tokens: machines that share a database share it
    Column("created_at", UtcDateTime, nullable=False),
    Column("calls_since", Text),  # YYYY-MM-DD: calls of earlier days may be gone (retention); NULL: of none are
    CheckConstraint("singleton = 1", name="singleton"),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("timezone", Text, nullable=False),
    Column("next_timezone", Text),
    Column("next_timezone_from", UtcDateTime),
    Column("status", Text, nullable=False, server_default="active"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("models", Text),  # a JSON list of patterns of the models that are allowed; NULL: all
    Column("near_limit", Text, nullable=False, server_default="clamp"),  # for calls that fit only shortened
    one_of("status", "active", "disabled", "closed"),
    one_of("near_limit", "clamp", "refuse"),
)

users = Table(
    "users",
    metadata,
    tenant_column(),
    Column("id", ID, primary_key=True),
    Column("username", Text, nullable=False),
    Column("role", Text, nullable=False, server_default="user"),
    Column("password_hash", Text, nullable=False),
    Column("given_hash", Text),  # what an import gave, where a login has replaced it by a stronger one
    Column("status", Text, nullable=False, server_default="active"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("models", Text),  # as of a tenant; both must allow a model
    one_of("role", "user", "admin", "operator"),
    one_of("status", "active", "disabled", "closed"),
    belongs_to("tenants", ("tenant_id", "id")),
)

usernames = Table(  # names are unique in an installation; a login finds its tenant here
    "usernames",
    metadata,
    Column("username", Text, primary_key=True),
    Column("tenant_id", ID, nullable=False),
    Column("user_id", ID, nullable=False),
    belongs_to("users", ("tenant_id", "tenant_id"), ("user_id", "id")),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    tenant_column(),
    Column("jti", ID, primary_key=True),
    Column("user_id", ID, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),  # whole seconds: they are claims
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("name", Text),  # of one that was made by name; NULL: the one that `POST /token` gives
    Column("models", Text),  # as of a tenant; all must allow a model
    belongs_to("users", ("tenant_id", "tenant_id"), ("user_id", "id")),
    Index(None, "tenant_id", "user_id"),
)

login_failures = Table(  # failed logins from one address (subject '') or of one user from it (a digest of the name)
    "login_failures",
    metadata,
    Column("address", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("window_start", UtcDateTime, primary_key=True),
    count("failures"),
    count("pending"),  # logins that are being decided: they count as failures until they are not
    Index(None, "window_start"),
)

known_addresses = Table(  # addresses that a user has logged in from: a stranger's failures there do not lock them out
    "known_addresses",
    metadata,
    tenant_column(),
    Column("user_id", ID, primary_key=True),
    Column("address", Text, primary_key=True),
    Column("last_login_at", UtcDateTime, nullable=False),
    belongs_to("users", ("tenant_id", "tenant_id"), ("user_id", "id")),
)

limits = Table(
    "limits",
    metadata,
    tenant_column(),
    Column("scope", Text, primary_key=True),
    Column("scope_id", ID, primary_key=True),  # of scopes 'tenant' and 'each_user' the tenant's own id
    Column("metric", Text, primary_key=True),
    Column("window", Text, primary_key=True),
    Column("model", Text, primary_key=True, server_default=""),  # '' is any model
    Column("value", BigInteger),  # NULL says: unlimited, whatever would be inherited
    Column("changed_at", UtcDateTime, nullable=False),
    one_of("scope", "access_token", "user", "tenant", "each_user"),
    one_of("metric", "requests", "tokens", "cost"),
    one_of("window", "at_once", "minute", "day", "month"),
    CheckConstraint("value >= 0", name="value"),
    belongs_to("tenants", ("tenant_id", "id")),
)

counters = Table(
    "counters",
    metadata,
    tenant_column(),
    Column("scope", Text, primary_key=True),
    Column("scope_id", ID, primary_key=True),
    Column("window", Text, primary_key=True),
    Column("window_key", Text, primary_key=True),  # a local date, YYYY-MM, a minute in UTC, or '' at once
    Column("model", Text, primary_key=True, server_default=""),  # '' is any model
    count("requests_used"),
    count("requests_held"),
    count("tokens_used"),
    count("tokens_held"),
    count("cost_used"),
    count("cost_held"),
    sqlite_with_rowid=False,
)

workers = Table(
    "workers",
    metadata,
    Column("id", ID, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("renewed_at", UtcDateTime, nullable=False),
    Column("upstreams", Text),  # how they are, as this worker saw it when it renewed its lease: a JSON list
)

calls = Table(
    "calls",
    metadata,
    tenant_column(),
    Column("id", ID, primary_key=True),
    Column("user_id", ID, nullable=False),
    Column("jti", ID, nullable=False),
    Column("worker_id", ID, nullable=False),
    Column("state", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("day", Text, nullable=False),  # the local date that its windows hold, fixed at admission
    Column("prompt_bound", BigInteger, nullable=False),
    Column("completion_granted", BigInteger, nullable=False),
    Column("cost_bound", BigInteger, nullable=False),
    Column("admitted_at", UtcDateTime, nullable=False),
    Column("deadline_at", UtcDateTime, nullable=False),
    Column("expired_at", UtcDateTime),
    Column("ended_at", UtcDateTime),  # when the truth was written
    Column("ended", Text),
    Column("answered", Boolean, nullable=False, server_default=text("false")),
    Column("usage_source", Text, nullable=False, server_default="none"),
    count("prompt_tokens"),
    count("cached_tokens"),
    count("completion_tokens"),
    count("reasoning_tokens"),
    count("cost"),
    Column(
        "unpriced", Boolean, nullable=False, server_default=text("false")
    ),  # of unknown cost: that it is 0 says nothing
    one_of("state", "held", "settled", "released", "expired"),
    one_of("usage_source", "none", "upstream", "counted", "hold"),
    Index(
        "ix_calls_held",
        "tenant_id",
        "worker_id",
        postgresql_where=text("state = 'held'"),
        sqlite_where=text("state = 'held'"),
    ),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (id)",  # by months (storage/partitions.py)
)

attempts = Table(
    "attempts",
    metadata,
    tenant_column(),
    Column("call_id", ID, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("upstream", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("upstream_id", Text),
    one_of("state", "sent", "answered", "refused", "unknown"),
    # On PostgreSQL each partition belongs to the calls' partition of its month (storage/partitions.py says why).
    belongs_to("calls", ("tenant_id", "tenant_id"), ("call_id", "id")).ddl_if(dialect="sqlite"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (call_id)",
)

usage_days = Table(  # the roll-up that reports read: what settled and expired calls were charged
    "usage_days",
    metadata,
    tenant_column(),
    Column("user_id", ID, primary_key=True),
    Column("jti", ID, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    count("requests"),
    count("prompt_tokens"),
    count("cached_tokens"),
    count("completion_tokens"),
    count("reasoning_tokens"),
    count("cost"),
    count("unpriced"),  # calls of unknown cost
    Index(None, "tenant_id", "day"),
)

idempotency_keys = Table(  # of requests that may be sent again; what became of each says its call's row
    "idempotency_keys",
    metadata,
    tenant_column(),
    Column("user_id", ID, primary_key=True),
    Column("key_digest", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column("call_id", ID, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("reply", LargeBinary),  # sealed (logic/sealing.py)
    Index(None, "expires_at"),  # for deleting what has expired, which no single tenant does
)
