"""The first tables

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "calls",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("jti", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("worker_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("prompt_bound", sa.BigInteger(), nullable=False),
        sa.Column("completion_granted", sa.BigInteger(), nullable=False),
        sa.Column("cost_bound", sa.BigInteger(), nullable=False),
        sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("answered", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("usage_source", sa.Text(), server_default="none", nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unpriced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("state IN ('held', 'settled', 'released', 'expired')", name=op.f("ck_calls_state")),
        sa.CheckConstraint(
            "usage_source IN ('none', 'upstream', 'counted', 'hold')", name=op.f("ck_calls_usage_source")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_calls")),
        postgresql_partition_by="RANGE (id)",
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("calls", schema=None) as batch_op:
        batch_op.create_index(
            "ix_calls_held",
            ["tenant_id", "worker_id"],
            unique=False,
            postgresql_where=sa.text("state = 'held'"),
            sqlite_where=sa.text("state = 'held'"),
        )

    op.create_table(
        "counters",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("requests_used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests_held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tokens_held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost_used", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost_held", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(
            "tenant_id", "scope", "scope_id", "window", "window_key", "model", name=op.f("pk_counters")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("call_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "key_digest", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "installation",
        sa.Column("singleton", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("jwt_fingerprint", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls_since", sa.Text(), nullable=True),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_installation_singleton")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_installation")),
    )
    op.create_table(
        "login_failures",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("address", "subject", "window_start", name=op.f("pk_login_failures")),
    )
    with op.batch_alter_table("login_failures", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_failures_window_start"), ["window_start"], unique=False)

    op.create_table(
        "tenants",
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("next_timezone", sa.Text(), nullable=True),
        sa.Column("next_timezone_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("near_limit", sa.Text(), server_default="clamp", nullable=False),
        sa.CheckConstraint("near_limit IN ('clamp', 'refuse')", name=op.f("ck_tenants_near_limit")),
        sa.CheckConstraint("status IN ('active', 'disabled', 'closed')", name=op.f("ck_tenants_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "model", "day", name=op.f("pk_usage_days")),
    )
    with op.batch_alter_table("usage_days", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_usage_days_tenant_id_day"), ["tenant_id", "day"], unique=False)

    op.create_table(
        "workers",
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "attempts",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("call_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('sent', 'answered', 'refused', 'unknown')", name=op.f("ck_attempts_state")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], name=op.f("fk_attempts_calls")
        ).ddl_if(dialect="sqlite"),
        sa.PrimaryKeyConstraint("tenant_id", "call_id", "number", name=op.f("pk_attempts")),
        postgresql_partition_by="RANGE (call_id)",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "limits",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("metric IN ('requests', 'tokens', 'cost')", name=op.f("ck_limits_metric")),
        sa.CheckConstraint("scope IN ('access_token', 'user', 'tenant', 'each_user')", name=op.f("ck_limits_scope")),
        sa.CheckConstraint("\"window\" IN ('at_once', 'minute', 'day', 'month')", name=op.f("ck_limits_window")),
        sa.CheckConstraint("value >= 0", name=op.f("ck_limits_value")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_limits_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "scope_id", "metric", "window", "model", name=op.f("pk_limits")),
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="user", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("given_hash", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.CheckConstraint("role IN ('user', 'admin', 'operator')", name=op.f("ck_users_role")),
        sa.CheckConstraint("status IN ('active', 'disabled', 'closed')", name=op.f("ck_users_status")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_users_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_users")),
    )
    op.create_table(
        "access_tokens",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("jti", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_access_tokens_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "jti", name=op.f("pk_access_tokens")),
    )
    with op.batch_alter_table("access_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_tokens_tenant_id_user_id"), ["tenant_id", "user_id"], unique=False)

    op.create_table(
        "known_addresses",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_known_addresses_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "address", name=op.f("pk_known_addresses")),
    )
    op.create_table(
        "usernames",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_usernames_users")
        ),
        sa.PrimaryKeyConstraint("username", name=op.f("pk_usernames")),
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_table("usernames")
    op.drop_table("known_addresses")
    with op.batch_alter_table("access_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_access_tokens_tenant_id_user_id"))

    op.drop_table("access_tokens")
    op.drop_table("users")
    op.drop_table("limits")
    op.drop_table("attempts")
    op.drop_table("workers")
    with op.batch_alter_table("usage_days", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_usage_days_tenant_id_day"))

    op.drop_table("usage_days")
    op.drop_table("tenants")
    with op.batch_alter_table("login_failures", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_login_failures_window_start"))

    op.drop_table("login_failures")
    op.drop_table("installation")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_keys_expires_at"))

    op.drop_table("idempotency_keys")
    op.drop_table("counters")
    with op.batch_alter_table("calls", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_calls_held", postgresql_where=sa.text("state = 'held'"), sqlite_where=sa.text("state = 'held'")
        )

    op.drop_table("calls")
