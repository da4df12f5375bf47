"""Logs of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_parts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_log_parts_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_log_parts_sha256_blobs"),
        sa.PrimaryKeyConstraint("job_id", "start", name="pk_log_parts"),
    )
    op.create_index("ix_log_parts_sha256", "log_parts", ["sha256"])


def downgrade() -> None:
    op.drop_table("log_parts")
