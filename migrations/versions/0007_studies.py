"""Studies, and the jobs that belong to one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=True),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("refused", JSON, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("decided", sa.Integer(), nullable=False),
        sa.Column("winner", sa.Integer(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_studies_tenant_id_tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_index("ix_studies_listing", "studies", ["tenant_id", "created_at", "id"])
    unfinished = sa.text("finished_at IS NULL")
    op.create_index("ix_studies_unfinished", "studies", ["id"], sqlite_where=unfinished, postgresql_where=unfinished)
    op.create_table(
        "trials",
        sa.Column("study_id", sa.String(length=40), nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("values", JSON, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("iterations", sa.BigInteger(), nullable=False),
        sa.Column("forecast", JSON, nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("scores", JSON, nullable=False),
        sa.Column("runtime_s", sa.Double(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_trials_study_id_studies", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "index", name="pk_trials"),
    )
    op.add_column("jobs", sa.Column("study_id", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("trial", sa.Integer(), nullable=True))
    of_a_study = sa.text("study_id IS NOT NULL")
    op.create_index("ix_jobs_study", "jobs", ["study_id"], sqlite_where=of_a_study, postgresql_where=of_a_study)


def downgrade() -> None:
    op.drop_index("ix_jobs_study", "jobs")
    op.drop_column("jobs", "trial")
    op.drop_column("jobs", "study_id")
    op.drop_table("trials")
    op.drop_table("studies")
