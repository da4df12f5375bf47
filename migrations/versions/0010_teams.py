"""Members, a trail of who did what, use by the month, and what a tenant may use.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
KEYS = sa.table("api_keys", sa.column("id", sa.String), sa.column("tenant_id", sa.String), sa.column("scopes", JSON))


def upgrade() -> None:
    """Add tables and columns, and make operators of those who could do everything until now."""
    op.create_table(
        "members",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_members_tenant_id_tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        sa.UniqueConstraint("tenant_id", "email", name="uq_members_tenant_id_email"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=True),
        sa.Column("address", sa.String(64), nullable=True),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=True),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_entries"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_entries_tenant_id_number", "audit_entries", ["tenant_id", "number"])
    op.create_table(
        "used_time",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("device_class", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "month", "device_class", name="pk_used_time"),
    )
    op.add_column("api_keys", sa.Column("member_id", sa.String(40), nullable=True))
    op.add_column("tenants", sa.Column("weight", sa.Double(), nullable=False, server_default="1"))
    op.add_column("tenants", sa.Column("max_month_minutes", sa.Integer(), nullable=True))
    op.add_column("tenants", sa.Column("disabled_at", sa.BigInteger(), nullable=True))
    for key in op.get_bind().execute(sa.select(KEYS).where(KEYS.c.tenant_id == "default")).all():
        scopes = json.loads(key.scopes) if isinstance(key.scopes, str) else key.scopes
        if "admin" in scopes:
            op.execute(KEYS.update().where(KEYS.c.id == key.id).values(scopes=[*scopes, "operator"]))


def downgrade() -> None:
    """Remove them; operators are admins again."""
    for key in op.get_bind().execute(sa.select(KEYS)).all():
        scopes = json.loads(key.scopes) if isinstance(key.scopes, str) else key.scopes
        if "operator" in scopes:
            left = [scope for scope in scopes if scope != "operator"]
            op.execute(KEYS.update().where(KEYS.c.id == key.id).values(scopes=left))
    op.drop_column("tenants", "disabled_at")
    op.drop_column("tenants", "max_month_minutes")
    op.drop_column("tenants", "weight")
    op.drop_column("api_keys", "member_id")
    op.drop_table("used_time")
    op.drop_index("ix_audit_entries_tenant_id_number", "audit_entries")
    op.drop_table("audit_entries")
    op.drop_table("members")
