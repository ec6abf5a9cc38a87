"""Administration: the trail, tenants' own upstream keys, webhooks and their alerts

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "trail",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("actor_id", ID, nullable=True),
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
        "upstream_keys",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("upstream", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_upstream_keys_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "upstream", name=op.f("pk_upstream_keys")),
    )
    op.create_table(
        "webhooks",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status = 'active' OR status = 'disabled' OR status = 'deleted'", name=op.f("ck_webhooks_status")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_webhooks_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "alerts",
        sa.Column("tenant_id", ID, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("webhook_id", ID, nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state = 'pending' OR state = 'delivered' OR state = 'given_up'", name=op.f("ck_alerts_state")
        ),
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
    op.drop_table("alerts")
    op.drop_table("webhooks")
    op.drop_table("upstream_keys")
    op.drop_table("trail")
    if op.get_bind().dialect.name == "postgresql":
        for change in ("update", "delete", "truncate"):
            op.execute(f"DROP FUNCTION IF EXISTS trail_refuses_{change}()")
