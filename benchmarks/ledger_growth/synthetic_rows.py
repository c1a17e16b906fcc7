"""Rows that a ledger has after many sales, written by PostgreSQL itself; their hashes are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from teacher_server.database.engine import write_transaction

# Ten million sales take a year.
_FIRST_MS = 1_767_225_600_000  # 2026-01-01
_STEP_MS = 3154
_GROWING = ("requests", "ledger_entries")
_REQUESTS = text(f"""
INSERT INTO requests (request_id, key_id, idempotency_key, payload_sha256, state, images, texts,
    units, micro_usd_per_unit, price_version, boot_id, created_ms, lease_until_ms, resolved_ms)
SELECT 'req_' || m, 'key_' || n % 100, 'k_' || m, m || m, 'posted', 1, 0, 1, 100, 'p1', 'boot_0',
    at_ms, at_ms, at_ms
FROM (SELECT n, md5(n::text) AS m, {_FIRST_MS} + n * {_STEP_MS} AS at_ms
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS sales
""")  # constants  # nosec B608
_ENTRIES = text(f"""
INSERT INTO ledger_entries (key_id, seq, kind, request_id, idempotency_key, model,
    model_fingerprint, images, texts, embeddings_sha256, units, cost_micro_usd, price_version,
    balance_units, created_ms, prev_hash, hash)
SELECT 'key_' || n % 100, n / 100, 'charge', 'req_' || m, 'k_' || m, 'ViT-B-32',
    'sha256:' || f || f, 1, 0, m || m, 1, 100, 'p1', 1, at_ms, m || f, f || m
FROM (SELECT n, md5(n::text) AS m, md5('model') AS f, {_FIRST_MS} + n * {_STEP_MS} AS at_ms
      FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n) AS sales
""")  # constants  # nosec B608
# Hexadecimal digits of a random kind are as little compressible as an embedding in base64.
_ANSWERS = text("""
INSERT INTO answers (request_id, charged_ms, body)
SELECT 'req_old_' || n, n, CAST(body AS bytea)
FROM generate_series(1, CAST(:count AS bigint)) AS n,
    LATERAL (SELECT string_agg(md5(n || '.' || part), '') AS body
             FROM generate_series(1, CAST(:parts AS integer)) AS part) AS made
""")


def add_sales(engine: Engine, first: int, last: int) -> None:
    """Add the sales with these numbers, both included, as requests and entries of 100 keys."""
    with _without_indexes(engine), write_transaction(engine) as connection:
        # Without triggers: neither accounts nor answers are made for them.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in (_REQUESTS, _ENTRIES):
            connection.execute(statement, {"first": first, "last": last})
    vacuum(engine, *_GROWING)


def add_old_answers(engine: Engine, count: int, num_bytes: int) -> None:
    """Add answers of this size that are older than any sale."""
    with write_transaction(engine) as connection:
        connection.execute(_ANSWERS, {"count": count, "parts": num_bytes // 32})
    vacuum(engine, "answers")


def vacuum(engine: Engine, *tables: str) -> None:
    """VACUUM and ANALYZE these tables."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.exec_driver_sql(f"VACUUM (ANALYZE) {table}")
        connection.exec_driver_sql("CHECKPOINT")


@contextmanager
def _without_indexes(engine: Engine) -> Iterator[None]:
    """Drop the indexes of the growing tables, and build them again afterwards."""
    with write_transaction(engine) as connection:
        constraints = connection.execute(
            text(
                "SELECT conrelid::regclass::text AS of_table, conname AS name, "
                "pg_get_constraintdef(oid) AS made FROM pg_constraint "
                "WHERE contype IN ('p', 'u') AND conrelid::regclass::text = ANY(:tables)"
            ),
            {"tables": list(_GROWING)},
        ).all()
        for row in constraints:
            connection.execute(text(f'ALTER TABLE {row.of_table} DROP CONSTRAINT "{row.name}"'))
        indexes = connection.execute(
            text(
                "SELECT indexname AS name, indexdef AS made FROM pg_indexes "
                "WHERE tablename = ANY(:tables)"
            ),
            {"tables": list(_GROWING)},
        ).all()
        for row in indexes:
            connection.execute(text(f'DROP INDEX "{row.name}"'))
    yield
    with write_transaction(engine) as connection:
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        for row in constraints:
            connection.execute(
                text(f'ALTER TABLE {row.of_table} ADD CONSTRAINT "{row.name}" {row.made}')
            )
        for row in indexes:
            connection.execute(text(row.made))
