"""Let an operator say that a worker takes no more jobs.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("workers", sa.Column("wanted", sa.String(8), nullable=False, server_default="run"))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("workers", "wanted")
