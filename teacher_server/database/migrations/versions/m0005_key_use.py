"""What each key uses of its limits, which servers on one PostgreSQL database share.

SQLite has one server, which counts in memory; the tables are there so that both have one schema.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not logged, so that a request waits for no disk because of its limits. After a crash of
    # the database they are empty, as the memory of a server is after its restart.
    prefixes = ["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else []
    op.create_table(
        "key_use",
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("full_at_ns", sa.BigInteger, nullable=False),
        sa.Column("concurrent", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_use"),
        sa.CheckConstraint("concurrent >= 0", name="not_negative"),
        prefixes=prefixes,
    )
    op.create_table(
        "open_requests",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_open_requests"),
        prefixes=prefixes,
    )
