"""Steps after which a job is held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("hold_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "hold_at")
