"""Bound the work that a tenant may have unfinished, by what was expected at submission.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there already was never estimated, and counts by its longest running time."""
    op.add_column("tenants", sa.Column("max_work_hours", sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("expected_s", sa.Double(), nullable=True))
    op.add_column("studies", sa.Column("expected_s", sa.Double(), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("studies", "expected_s")
    op.drop_column("jobs", "expected_s")
    op.drop_column("tenants", "max_work_hours")
