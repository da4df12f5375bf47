"""Score sets that others made.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ROWS = "current_user <> 'ddservice_tenant' OR tenant_id = current_setting('ddservice.tenant', true)"


def upgrade() -> None:
    """Add the tables, and the policy that 0015 has for every table with rows of tenants."""
    op.create_table(
        "scores",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(200), nullable=True),
        sa.Column("file", sa.String(255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.Column("dataset", sa.String(200), nullable=False),
        sa.Column("dataset_id", sa.String(40), nullable=True),
        sa.Column("request", JSON, nullable=False),
        sa.Column("ipc", sa.Integer(), nullable=True),
        sa.Column("spec", JSON, nullable=True),
        sa.Column("key_id", sa.String(40), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_scores_tenant_id_tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_scores"),
    )
    op.create_index("ix_scores_listing", "scores", ["tenant_id", "created_at", "id"])
    op.create_index("ix_scores_job_id", "scores", ["job_id"])
    op.create_table(
        "score_parts",
        sa.Column("score_id", sa.String(40), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["score_id"], ["scores.id"], name="fk_score_parts_score_id_scores", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_score_parts_sha256_blobs"),
        sa.PrimaryKeyConstraint("score_id", "start", name="pk_score_parts"),
    )
    op.create_index("ix_score_parts_sha256", "score_parts", ["sha256"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE scores ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant_rows ON scores USING ({ROWS}) WITH CHECK ({ROWS})")


def downgrade() -> None:
    """Remove the tables; the jobs of scores go with them, since nothing before knows their kind."""
    op.execute("DELETE FROM jobs WHERE kind = 'score'")
    op.drop_table("score_parts")
    op.drop_table("scores")
