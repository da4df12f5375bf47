"""Users' own sets, and jobs that take them in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String(length=16), nullable=False, server_default="distillation"))
    op.add_column("jobs", sa.Column("dataset_id", sa.String(length=40), nullable=True))
    op.create_index(
        "ix_jobs_dataset",
        "jobs",
        ["dataset_id"],
        sqlite_where=sa.text("dataset_id IS NOT NULL"),
        postgresql_where=sa.text("dataset_id IS NOT NULL"),
    )
    op.add_column("tenants", sa.Column("max_dataset_bytes", sa.BigInteger(), nullable=True))

    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("file", sa.String(length=255), nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("content_id", sa.String(length=40), nullable=True),
        sa.Column("report", JSON, nullable=True),
        sa.Column("facts", JSON, nullable=True),
        sa.Column("stored", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_datasets_tenant_id_tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
    )
    op.create_index("ix_datasets_listing", "datasets", ["tenant_id", "created_at", "id"])
    op.create_index("ix_datasets_content", "datasets", ["tenant_id", "content_id"])
    op.create_index(
        "uq_datasets_version",
        "datasets",
        ["tenant_id", "name", "version"],
        unique=True,
        sqlite_where=sa.text("version IS NOT NULL"),
        postgresql_where=sa.text("version IS NOT NULL"),
    )
    for table, key in (
        ("dataset_parts", sa.Column("start", sa.BigInteger(), nullable=False, autoincrement=False)),
        ("dataset_files", sa.Column("name", sa.String(length=100), nullable=False)),
    ):
        op.create_table(
            table,
            sa.Column("dataset_id", sa.String(length=40), nullable=False),
            key,
            sa.Column("sha256", sa.String(length=64), nullable=False),
            sa.Column("size", sa.BigInteger(), nullable=False),
            sa.ForeignKeyConstraint(
                ["dataset_id"], ["datasets.id"], name=f"fk_{table}_dataset_id_datasets", ondelete="CASCADE"
            ),
            sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name=f"fk_{table}_sha256_blobs"),
            sa.PrimaryKeyConstraint("dataset_id", key.name, name=f"pk_{table}"),
        )
        op.create_index(f"ix_{table}_sha256", table, ["sha256"])


def downgrade() -> None:
    for table in ("dataset_parts", "dataset_files", "datasets"):
        op.drop_table(table)
    op.drop_column("tenants", "max_dataset_bytes")
    op.drop_index("ix_jobs_dataset", "jobs")
    op.drop_column("jobs", "dataset_id")
    op.drop_column("jobs", "kind")
