"""The schema as SQLAlchemy core tables; `migrations/` holds its history."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only assigns row numbers to a column declared INTEGER.
_row_number = BigInteger().with_variant(Integer(), "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("secret_hash", String(100), nullable=False),
    Column("budget_units", BigInteger, nullable=False),
    Column("spent_units", BigInteger, nullable=False),
    Column("reserved_units", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger, nullable=True),
    Column("scopes", String(64), nullable=False, server_default="embed,read"),
    Column("expires_ms", BigInteger, nullable=True),
    Column("last_used_ms", BigInteger, nullable=True),
    Column("requests_per_minute", BigInteger, nullable=True),
    Column("max_concurrent", BigInteger, nullable=True),
    Column("budget_period", String(8), nullable=False, server_default="none"),
    Column("period_units", BigInteger, nullable=True),
    Column("period_start_ms", BigInteger, nullable=False, server_default="0"),
    # The head of the key's chain when its period started, and what was spent until then.
    Column("period_base_seq", BigInteger, nullable=False, server_default="0"),
    Column("period_base_units", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("spent_units >= 0 AND reserved_units >= 0", name="not_negative"),
    CheckConstraint("spent_units + reserved_units <= budget_units", name="within_budget"),
    CheckConstraint(
        "budget_period IN ('none', 'day', 'month') "
        "AND (budget_period = 'none') = (period_units IS NULL)",
        name="period_known",
    ),
    CheckConstraint(
        "period_base_units >= 0 AND period_base_units <= spent_units", name="period_base"
    ),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("key_id", String(64), ForeignKey("accounts.id"), nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("payload_sha256", String(64), nullable=False),
    Column("state", String(8), nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("texts", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("micro_usd_per_unit", BigInteger, nullable=False),
    Column("price_version", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger, nullable=True),
    # When an answer was deleted by itself; before answers had a table, also because of its age.
    Column("purged_ms", BigInteger, nullable=True),
    CheckConstraint("state IN ('reserved', 'posted', 'voided')", name="state_known"),
    CheckConstraint("units > 0 AND images >= 0 AND texts >= 0", name="units_positive"),
    CheckConstraint("purged_ms IS NULL OR state = 'posted'", name="purged_is_posted"),
    # A voided request frees its Idempotency-Key: a retry then counts as the first purchase.
    Index(
        "uq_requests_live_idempotency_key",
        "key_id",
        "idempotency_key",
        unique=True,
        sqlite_where=text("state <> 'voided'"),
        postgresql_where=text("state <> 'voided'"),
    ),
    Index("ix_requests_state", "state"),
)

# The answer of each charged request, until it is deleted. Without a foreign key, so that a sale
# looks nothing up and a deletion locks nothing else; a trigger refuses a charge without an answer.
answers = Table(
    "answers",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("charged_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("ix_answers_charged_ms", "charged_ms"),
)

# Until when what was purged, which no row itself says: one row, for answers.
purges = Table(
    "purges",
    metadata,
    Column("what", String(16), primary_key=True),
    Column("before_ms", BigInteger, nullable=False),
)

entries = Table(
    "ledger_entries",
    metadata,
    Column("row", _row_number, primary_key=True, autoincrement=True),
    Column("key_id", String(64), ForeignKey("accounts.id"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("model", String(255), nullable=False),
    Column("model_fingerprint", String(80), nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("texts", BigInteger, nullable=False),
    # NULL for what is not a charge, and for charges from before the digest.
    Column("embeddings_sha256", String(64), nullable=True),
    Column("units", BigInteger, nullable=False),
    Column("cost_micro_usd", BigInteger, nullable=False),
    Column("price_version", String(64), nullable=False),
    Column("balance_units", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("kind IN ('grant', 'charge', 'correction')", name="kind_known"),
    CheckConstraint("balance_units >= 0", name="balance_not_negative"),
    UniqueConstraint("key_id", "seq"),
    UniqueConstraint("request_id"),
    Index("ix_ledger_entries_key_id_created_ms", "key_id", "created_ms"),
)

boots = Table(
    "boots",
    metadata,
    Column("boot_id", String(64), primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
)

# The reason for each entry of kind "correction"; the entry itself is in the chain.
corrections = Table(
    "corrections",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("corrects", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", String(200), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("ix_corrections_corrects", "corrects"),
)

# Sessions of the web pages that somebody signed out of; kept until the cookie would be too old.
ended_sessions = Table(
    "ended_sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("until_ms", BigInteger, nullable=False),
    Index("ix_ended_sessions_until_ms", "until_ms"),
)

# What a key uses of its limits, over all servers on one PostgreSQL database; empty with SQLite. The
# token bucket is stored as the instant at which it will be full, in Unix nanoseconds.
key_use = Table(
    "key_use",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("full_at_ns", BigInteger, nullable=False),
    Column("concurrent", BigInteger, nullable=False),
    CheckConstraint("concurrent >= 0", name="not_negative"),
)

# The requests that `key_use` counts as concurrent, so that those of a dead server can be found.
open_requests = Table(
    "open_requests",
    metadata,
    Column("request_id", String(64), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),
)

# An outbox: written with the charge that crosses a threshold, and delivered afterwards.
alerts = Table(
    "alerts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("key_id", String(64), ForeignKey("accounts.id"), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("label", String(64), nullable=False),
    Column("used_units", BigInteger, nullable=False),
    Column("allowance_units", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger, nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("retry_ms", BigInteger, nullable=False),
    CheckConstraint("percent IN (80, 100)", name="percent_known"),
    UniqueConstraint("key_id", "percent", "label"),
    Index(
        "ix_alerts_pending",
        "retry_ms",
        sqlite_where=text("delivered_ms IS NULL"),
        postgresql_where=text("delivered_ms IS NULL"),
    ),
)
