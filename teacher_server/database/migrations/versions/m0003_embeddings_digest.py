"""The digest of the embeddings that a charge pays for; earlier entries have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Added in place and NULL for the entries of today: their hashes do not cover this column.
    op.add_column("ledger_entries", sa.Column("embeddings_sha256", sa.String(64), nullable=True))
