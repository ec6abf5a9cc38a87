"""The ledger: calls and their attempts, counters, roll-ups, prices, and the workers that write them

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "calls",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("jti", ID, nullable=False),
        sa.Column("worker_id", ID, nullable=False),
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
        sa.CheckConstraint(
            "state = 'held' OR state = 'settled' OR state = 'released' OR state = 'expired'",
            name=op.f("ck_calls_state"),
        ),
        sa.CheckConstraint(
            "usage_source = 'none' OR usage_source = 'upstream' OR usage_source = 'counted' OR usage_source = 'hold'",
            name=op.f("ck_calls_usage_source"),
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
        "attempts",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("call_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upstream_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state = 'sent' OR state = 'answered' OR state = 'refused' OR state = 'unknown'",
            name=op.f("ck_attempts_state"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "call_id"], ["calls.tenant_id", "calls.id"], name=op.f("fk_attempts_calls")
        ).ddl_if(dialect="sqlite"),
        sa.PrimaryKeyConstraint("tenant_id", "call_id", "number", name=op.f("pk_attempts")),
        postgresql_partition_by="RANGE (call_id)",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counters",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", ID, nullable=False),
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
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("call_id", ID, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "key_digest", name=op.f("pk_idempotency_keys")),
    )
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_keys_expires_at"), ["expires_at"], unique=False)
    op.create_table(
        "usage_days",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("jti", ID, nullable=False),
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
        "price_overrides",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("begins_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("model", "begins_at", name=op.f("pk_price_overrides")),
    )
    op.create_table(
        "workers",
        sa.Column("id", ID, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("upstreams", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_table("workers")
    op.drop_table("price_overrides")
    op.drop_table("usage_days")
    op.drop_table("idempotency_keys")
    op.drop_table("counters")
    op.drop_table("attempts")
    op.drop_table("calls")
