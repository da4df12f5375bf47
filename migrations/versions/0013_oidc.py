"""Members who sign in at an OpenID Connect provider, and the keys that their sessions speak for.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the indexes by which a member is found."""
    op.add_column("members", sa.Column("oidc_issuer", sa.String(255), nullable=True))
    op.add_column("members", sa.Column("oidc_subject", sa.String(255), nullable=True))
    op.create_index(
        "ix_members_oidc_subject_oidc_issuer_tenant_id",
        "members",
        ["oidc_subject", "oidc_issuer", "tenant_id"],
        unique=True,
    )
    op.create_index("ix_members_email", "members", ["email"])
    op.add_column("api_keys", sa.Column("sign_in", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Remove them. A key without a text is of no use to an earlier version, and ends with its sessions."""
    op.execute(sa.text("DELETE FROM api_keys WHERE sign_in"))
    op.drop_column("api_keys", "sign_in")
    op.drop_index("ix_members_email", "members")
    op.drop_index("ix_members_oidc_subject_oidc_issuer_tenant_id", "members")
    op.drop_column("members", "oidc_subject")
    op.drop_column("members", "oidc_issuer")
