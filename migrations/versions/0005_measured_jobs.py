"""What finished jobs took, and the plan of a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "measured_jobs",
        sa.Column("number", SERIAL, nullable=False),
        sa.Column("device_class", sa.String(length=16), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("precision", sa.String(length=16), nullable=False),
        sa.Column("compiled", sa.Boolean(), nullable=False),
        sa.Column("method", sa.String(length=100), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=True),
        sa.Column("networks", JSON, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("phases", JSON, nullable=False),
        sa.Column("model_bytes", sa.BigInteger(), nullable=False),
        sa.Column("peak_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_measured_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_measured_jobs_device_class_number", "measured_jobs", ["device_class", "number"])
    op.add_column("jobs", sa.Column("plan", JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "plan")
    op.drop_table("measured_jobs")
