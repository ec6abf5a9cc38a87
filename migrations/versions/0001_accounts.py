"""Accounts: tenants and users, what they sign in with, and their limits

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

ID = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "installation",
        sa.Column("singleton", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("jwt_fingerprint", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calls_since", sa.Text(), nullable=True),
        sa.CheckConstraint("singleton = 1", name=op.f("ck_installation_singleton")),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_installation")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("next_timezone", sa.Text(), nullable=True),
        sa.Column("next_timezone_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.Column("near_limit", sa.Text(), server_default="clamp", nullable=False),
        sa.CheckConstraint("near_limit = 'clamp' OR near_limit = 'refuse'", name=op.f("ck_tenants_near_limit")),
        sa.CheckConstraint(
            "status = 'active' OR status = 'disabled' OR status = 'closed'", name=op.f("ck_tenants_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="user", nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("given_hash", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("models", sa.Text(), nullable=True),
        sa.CheckConstraint("role = 'user' OR role = 'admin' OR role = 'operator'", name=op.f("ck_users_role")),
        sa.CheckConstraint(
            "status = 'active' OR status = 'disabled' OR status = 'closed'", name=op.f("ck_users_status")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_users_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_users")),
    )
    op.create_table(
        "usernames",
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_usernames_users")
        ),
        sa.PrimaryKeyConstraint("username", name=op.f("pk_usernames")),
    )
    op.create_table(
        "access_tokens",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("jti", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
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
        "invitations",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_invitations_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_invitations")),
    )
    op.create_table(
        "known_addresses",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "user_id"], ["users.tenant_id", "users.id"], name=op.f("fk_known_addresses_users")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", "address", name=op.f("pk_known_addresses")),
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
        "limits",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("scope_id", ID, nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "metric = 'requests' OR metric = 'tokens' OR metric = 'cost'", name=op.f("ck_limits_metric")
        ),
        sa.CheckConstraint(
            "scope = 'access_token' OR scope = 'user' OR scope = 'tenant' OR scope = 'each_user'",
            name=op.f("ck_limits_scope"),
        ),
        sa.CheckConstraint(
            "\"window\" = 'at_once' OR \"window\" = 'minute' OR \"window\" = 'day' OR \"window\" = 'month'",
            name=op.f("ck_limits_window"),
        ),
        sa.CheckConstraint("value >= 0", name=op.f("ck_limits_value")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_limits_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "scope", "scope_id", "metric", "window", "model", name=op.f("pk_limits")),
    )
    op.create_table(
        "grants",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("scope_id", ID, nullable=False),
        sa.Column("window_key", sa.Text(), nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), server_default="", nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "metric = 'requests' OR metric = 'tokens' OR metric = 'cost'", name=op.f("ck_grants_metric")
        ),
        sa.CheckConstraint(
            "scope = 'access_token' OR scope = 'user' OR scope = 'tenant'", name=op.f("ck_grants_scope")
        ),
        sa.CheckConstraint("\"window\" = 'day' OR \"window\" = 'month'", name=op.f("ck_grants_window")),
        sa.CheckConstraint("value > 0", name=op.f("ck_grants_value")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_grants_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "scope_id", "window_key", "id", name=op.f("pk_grants")),
    )


def downgrade() -> None:
    """Take this step back."""
    op.drop_table("grants")
    op.drop_table("limits")
    op.drop_table("login_failures")
    op.drop_table("known_addresses")
    op.drop_table("invitations")
    op.drop_table("access_tokens")
    op.drop_table("usernames")
    op.drop_table("users")
    op.drop_table("tenants")
    op.drop_table("installation")
