"""Find the jobs that come from another one.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index the jobs by the one that they come from."""
    op.create_index(
        "ix_jobs_parent",
        "jobs",
        ["parent_id"],
        sqlite_where=sa.text("parent_id IS NOT NULL"),
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Remove the index."""
    op.drop_index("ix_jobs_parent", table_name="jobs")
