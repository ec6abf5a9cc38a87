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
        "price_overrides",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", "begins_at", name=op.f("pk_price_overrides")),
    )
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
        "trail",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=True),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_trail")),
    )
    with op.batch_alter_table("trail", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trail_id"), ["id"], unique=False)

    op.create_table(
        "usage_days",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("jti", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "jti", "model", "day", name=op.f("pk_usage_days")),
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
        sa.Column("upstreams", sa.Text(), nullable=True),
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
        "grants",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("scope_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("metric IN ('requests', 'tokens', 'cost')", name=op.f("ck_grants_metric")),
        sa.CheckConstraint("scope IN ('access_token', 'user', 'tenant')", name=op.f("ck_grants_scope")),
        sa.CheckConstraint("\"window\" IN ('day', 'month')", name=op.f("ck_grants_window")),
        sa.CheckConstraint("value > 0", name=op.f("ck_grants_value")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_grants_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "scope_id", "window_key", "id", name=op.f("pk_grants")),
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
        "upstream_keys",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_upstream_keys_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "upstream", name=op.f("pk_upstream_keys")),
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
        "webhooks",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("status IN ('active', 'disabled', 'deleted')", name=op.f("ck_webhooks_status")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "access_tokens",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("jti", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("models", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_access_tokens_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "jti", name=op.f("pk_access_tokens")),
    )
    with op.batch_alter_table("access_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_tokens_tenant_id_user_id"), ["tenant_id", "user_id"], unique=False)

    op.create_table(
        "alerts",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("webhook_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'given_up')", name=op.f("ck_alerts_state")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], name=op.f("fk_alerts_webhooks")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_alerts")),
    )
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.create_index(
            "ix_alerts_pending",
            ["next_try_at"],
            unique=False,
            postgresql_where=sa.text("state = 'pending'"),
            sqlite_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            batch_op.f("ix_alerts_tenant_id_webhook_id_occasion"), ["tenant_id", "webhook_id", "occasion"], unique=True
        )

    op.create_table(
        "invitations",
        sa.Column("tenant_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("user_id", sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_invitations_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_invitations")),
    )
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
    _guard_the_trail()


def _guard_the_trail() -> None:
    """Refuse whatever would change or delete a row of the trail."""
    refused = "the trail is append-only"
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for change, each in (("UPDATE", "ROW"), ("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        name = f"trail_refuses_{change.lower()}"
        if is_sqlite and change == "TRUNCATE":  # which is not known there
            continue
        if is_sqlite:
            op.execute(f"CREATE TRIGGER {name} BEFORE {change} ON trail BEGIN SELECT RAISE(ABORT, '{refused}'); END")
            continue
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{refused}'; END $$"
        )
        op.execute(f"CREATE TRIGGER {name} BEFORE {change} ON trail FOR EACH {each} EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    """Take this step back."""
    op.drop_table("usernames")
    op.drop_table("known_addresses")
    op.drop_table("invitations")
    with op.batch_alter_table("alerts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_alerts_tenant_id_webhook_id_occasion"))
        batch_op.drop_index(
            "ix_alerts_pending",
            postgresql_where=sa.text("state = 'pending'"),
            sqlite_where=sa.text("state = 'pending'"),
        )

    op.drop_table("alerts")
    with op.batch_alter_table("access_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_access_tokens_tenant_id_user_id"))

    op.drop_table("access_tokens")
    op.drop_table("webhooks")
    op.drop_table("users")
    op.drop_table("upstream_keys")
    op.drop_table("limits")
    op.drop_table("grants")
    op.drop_table("attempts")
    op.drop_table("workers")
    with op.batch_alter_table("usage_days", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_usage_days_tenant_id_day"))

    op.drop_table("usage_days")
    op.drop_table("trail")
    op.drop_table("tenants")
    op.drop_table("price_overrides")
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
    if op.get_bind().dialect.name == "postgresql":
        for change in ("update", "delete", "truncate"):
            op.execute(f"DROP FUNCTION IF EXISTS trail_refuses_{change}()")
