"""Accounts, requests, boots, and a ledger that the database itself keeps append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_accounts()
    _create_requests()
    _create_entries()
    op.create_table(
        "boots",
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("boot_id", name="pk_boots"),
    )
    _refuse_changes(op.get_bind().dialect.name)


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("secret_hash", sa.String(100), nullable=False),
        sa.Column("budget_units", sa.BigInteger, nullable=False),
        sa.Column("spent_units", sa.BigInteger, nullable=False),
        sa.Column("reserved_units", sa.BigInteger, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("last_hash", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_ms", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.CheckConstraint(
            "spent_units >= 0 AND reserved_units >= 0", name=op.f("ck_accounts_not_negative")
        ),
        sa.CheckConstraint(
            "spent_units + reserved_units <= budget_units", name=op.f("ck_accounts_within_budget")
        ),
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("payload_sha256", sa.String(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("texts", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("micro_usd_per_unit", sa.BigInteger, nullable=False),
        sa.Column("price_version", sa.String(64), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("resolved_ms", sa.BigInteger, nullable=True),
        sa.Column("body", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("request_id", name="pk_requests"),
        sa.ForeignKeyConstraint(["key_id"], ["accounts.id"], name="fk_requests_key_id"),
        sa.CheckConstraint(
            "state IN ('reserved', 'posted', 'voided')", name=op.f("ck_requests_state_known")
        ),
        sa.CheckConstraint(
            "units > 0 AND images >= 0 AND texts >= 0", name=op.f("ck_requests_units_positive")
        ),
        sa.CheckConstraint(
            "(state = 'posted') = (body IS NOT NULL)", name=op.f("ck_requests_posted_has_body")
        ),
    )
    op.create_index(
        "uq_requests_live_idempotency_key",
        "requests",
        ["key_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("state <> 'voided'"),
        postgresql_where=sa.text("state <> 'voided'"),
    )
    op.create_index("ix_requests_state", "requests", ["state"])


def _create_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("row", _ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("model_fingerprint", sa.String(80), nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("texts", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("cost_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("price_version", sa.String(64), nullable=False),
        sa.Column("balance_units", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("row", name="pk_ledger_entries"),
        sa.ForeignKeyConstraint(["key_id"], ["accounts.id"], name="fk_ledger_entries_key_id"),
        sa.CheckConstraint(
            "kind IN ('grant', 'charge', 'correction')", name=op.f("ck_ledger_entries_kind_known")
        ),
        sa.CheckConstraint(
            "balance_units >= 0", name=op.f("ck_ledger_entries_balance_not_negative")
        ),
        sa.UniqueConstraint("key_id", "seq", name="uq_ledger_entries_key_id_seq"),
        sa.UniqueConstraint("request_id", name="uq_ledger_entries_request_id"),
    )
    op.create_index(
        "ix_ledger_entries_key_id_created_ms", "ledger_entries", ["key_id", "created_ms"]
    )


def _refuse_changes(dialect: str) -> None:
    # The application never changes an entry; these triggers also refuse SQL of other programs.
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only' "
            "USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        op.execute(
            "CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON ledger_entries FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ledger_entries_no_{change.lower()} BEFORE {change} ON ledger_entries "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )
