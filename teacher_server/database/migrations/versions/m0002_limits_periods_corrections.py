"""Scopes, limits and periods of keys; purged answers; corrections with their reason; alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_POSTED_HAS_BODY = "(state = 'posted') = (body IS NOT NULL OR purged_ms IS NOT NULL)"
_KEPT = sa.text("state = 'posted' AND purged_ms IS NULL")
_PENDING = sa.text("delivered_ms IS NULL")


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    _widen_accounts()
    _let_answers_be_purged(dialect)
    _create_corrections(dialect)
    _create_alerts()


def _widen_accounts() -> None:
    # Columns are added in place: SQLite would have to drop the table to rebuild it, and the
    # requests and entries that refer to it forbid that.
    for column in (
        sa.Column("scopes", sa.String(64), nullable=False, server_default="embed,read"),
        sa.Column("expires_ms", sa.BigInteger, nullable=True),
        sa.Column("last_used_ms", sa.BigInteger, nullable=True),
        sa.Column("requests_per_minute", sa.BigInteger, nullable=True),
        sa.Column("max_concurrent", sa.BigInteger, nullable=True),
        sa.Column("period_units", sa.BigInteger, nullable=True),
        sa.Column("period_start_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("period_base_seq", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("accounts", column)
    # A CHECK can only be added in place together with its column.
    op.execute(
        "ALTER TABLE accounts ADD COLUMN budget_period VARCHAR(8) DEFAULT 'none' NOT NULL "
        "CONSTRAINT ck_accounts_period_known CHECK (budget_period IN ('none', 'day', 'month') "
        "AND (budget_period = 'none') = (period_units IS NULL))"
    )
    op.execute(
        "ALTER TABLE accounts ADD COLUMN period_base_units BIGINT DEFAULT 0 NOT NULL "
        "CONSTRAINT ck_accounts_period_base CHECK "
        "(period_base_units >= 0 AND period_base_units <= spent_units)"
    )


def _let_answers_be_purged(dialect: str) -> None:
    with op.batch_alter_table(
        "requests",
        recreate="always" if dialect == "sqlite" else "never",
        copy_from=_requests_0001(),
    ) as requests:
        requests.add_column(sa.Column("purged_ms", sa.BigInteger, nullable=True))
        requests.drop_constraint(op.f("ck_requests_posted_has_body"), type_="check")
        requests.create_check_constraint(op.f("ck_requests_posted_has_body"), _POSTED_HAS_BODY)
    op.create_index(
        "ix_requests_kept_resolved_ms",
        "requests",
        ["resolved_ms"],
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    )


def _requests_0001() -> sa.Table:
    # SQLite rebuilds the table from this, and cannot reflect CHECKs, so they are listed here.
    not_voided = sa.text("state <> 'voided'")
    return sa.Table(
        "requests",
        sa.MetaData(),
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
            "state IN ('reserved', 'posted', 'voided')", name="ck_requests_state_known"
        ),
        sa.CheckConstraint(
            "units > 0 AND images >= 0 AND texts >= 0", name="ck_requests_units_positive"
        ),
        sa.CheckConstraint(
            "(state = 'posted') = (body IS NOT NULL)", name="ck_requests_posted_has_body"
        ),
        sa.Index(
            "uq_requests_live_idempotency_key",
            "key_id",
            "idempotency_key",
            unique=True,
            sqlite_where=not_voided,
            postgresql_where=not_voided,
        ),
        sa.Index("ix_requests_state", "state"),
    )


def _create_corrections(dialect: str) -> None:
    op.create_table(
        "corrections",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("corrects", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_corrections"),
    )
    op.create_index("ix_corrections_corrects", "corrections", ["corrects"])
    if dialect == "postgresql":
        op.execute(
            "CREATE TRIGGER corrections_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON corrections FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER corrections_no_{change.lower()} BEFORE {change} ON corrections "
            "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("used_units", sa.BigInteger, nullable=False),
        sa.Column("allowance_units", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("delivered_ms", sa.BigInteger, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retry_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.ForeignKeyConstraint(["key_id"], ["accounts.id"], name="fk_alerts_key_id"),
        sa.CheckConstraint("percent IN (80, 100)", name=op.f("ck_alerts_percent_known")),
        sa.UniqueConstraint("key_id", "percent", "label", name="uq_alerts_key_id_percent_label"),
    )
    op.create_index(
        "ix_alerts_pending",
        "alerts",
        ["retry_ms"],
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    )
