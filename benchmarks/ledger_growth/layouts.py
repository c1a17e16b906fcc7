"""Ledger entries in one table, as they are, beside entries in a table for each month.

A unique index of a partitioned table has to contain the column by which it is partitioned. What
makes a request charged once, and a chain without a fork, is therefore in a table of its own there.
"""

from __future__ import annotations

import itertools
import random
import time
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from benchmarks.ledger_growth.synthetic_rows import vacuum
from teacher_server.database.engine import write_transaction

INSERTS: Final = 20_000
_READS: Final = 50
_COLUMNS: Final = (
    "key_id, seq, kind, request_id, idempotency_key, model, model_fingerprint, images, texts, "
    "embeddings_sha256, units, cost_micro_usd, price_version, balance_units, created_ms, "
    "prev_hash, hash"
)
_MONTHLY: Final = (
    "CREATE TABLE monthly_entries (LIKE ledger_entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
    "FOREIGN KEY (key_id) REFERENCES accounts (id)) PARTITION BY RANGE (created_ms)",
    "CREATE TABLE entry_ids (request_id varchar(64), key_id varchar(64), seq bigint)",
)
_INDEXES: Final = (
    'ALTER TABLE monthly_entries ADD PRIMARY KEY ("row", created_ms)',
    "CREATE INDEX ON monthly_entries (key_id, seq)",
    "CREATE INDEX ON monthly_entries (key_id, created_ms)",
    "ALTER TABLE entry_ids ADD PRIMARY KEY (request_id)",
    "ALTER TABLE entry_ids ADD UNIQUE (key_id, seq)",
)


def compared(engine: Engine, key_id: str, inserts: int = INSERTS) -> list[dict[str, Any]]:
    """A row for each layout: sizes, time for an entry, and time for a page of a key's entries.

    `key_id` is an account without entries. The monthly tables are dropped again.
    """
    _copy_by_month(engine)
    found = [
        _measured(engine, "one table", ("ledger_entries",), key_id, inserts),
        _measured(
            engine, "a table for each month", ("monthly_entries", "entry_ids"), key_id, inserts
        ),
    ]
    with write_transaction(engine) as connection:
        connection.execute(text("DROP TABLE monthly_entries, entry_ids"))
    return found


def size(connection: Connection, table: str) -> tuple[int, int]:
    """Bytes of a table and of its indexes, with its partitions."""
    row = connection.execute(
        text(
            "SELECT sum(pg_table_size(relid)) AS rows, sum(pg_indexes_size(relid)) AS indexes "
            "FROM (SELECT CAST(:name AS regclass) AS relid "
            "UNION SELECT relid FROM pg_partition_tree(CAST(:name AS regclass))) AS parts"
        ),
        {"name": table},
    ).one()
    return int(row.rows), int(row.indexes)


def _copy_by_month(engine: Engine) -> None:
    with write_transaction(engine) as connection:
        # The accounts of synthetic entries do not exist.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL maintenance_work_mem = '512MB'"))
        for statement in _MONTHLY:
            connection.execute(text(statement))
        # The sales of the measurement itself are made today, whatever the synthetic ones say.
        last_ms = max(connection.scalar(text("SELECT max(created_ms) FROM ledger_entries")), _now())
        first_ms = min(
            connection.scalar(text("SELECT min(created_ms) FROM ledger_entries")), _now()
        )
        for number, (since, until) in enumerate(_months(first_ms, last_ms)):
            connection.execute(
                text(
                    f"CREATE TABLE monthly_entries_{number} PARTITION OF monthly_entries "
                    f"FOR VALUES FROM ({since}) TO ({until})"
                )
            )
        connection.execute(
            text(f"INSERT INTO monthly_entries ({_COLUMNS}) SELECT {_COLUMNS} FROM ledger_entries")
        )
        connection.execute(
            text("INSERT INTO entry_ids SELECT request_id, key_id, seq FROM ledger_entries")
        )
        # Built at the end, as those of the one table were, and so as compact.
        for statement in _INDEXES:
            connection.execute(text(statement))
    vacuum(engine, "monthly_entries", "entry_ids")


def _measured(
    engine: Engine, layout: str, tables: tuple[str, ...], key_id: str, inserts: int
) -> dict[str, Any]:
    with engine.connect() as connection:
        sizes = [size(connection, table) for table in tables]
        partitions = connection.scalar(
            text(
                "SELECT greatest(count(*), 1) "
                "FROM pg_partition_tree(CAST(:name AS regclass)) WHERE isleaf"
            ),
            {"name": tables[0]},
        )
    return {
        "layout": layout,
        "partitions": partitions,
        "table_bytes": sum(rows for rows, _ in sizes),
        "index_bytes": sum(indexes for _, indexes in sizes),
        "insert_us": round(_insert_seconds(engine, tables, key_id, inserts) / inserts * 1e6, 1),
        "page_ms": round(_page_seconds(engine, tables[0]) * 1e3, 2),
    }


def _insert_seconds(engine: Engine, tables: tuple[str, ...], key_id: str, inserts: int) -> float:
    """Entries appended one by one in the database itself, in a transaction that is undone."""
    values = (
        f"'{key_id}', 1000 + n, 'charge', 'req_new_' || md5(n::text), 'k_' || n, 'ViT-B-32', "
        f"'sha256:' || repeat('f', 64), 1, 0, repeat('f', 64), 1, 100, 'p1', 1, {_now()}, "
        "repeat('a', 64), repeat('b', 64)"
    )
    also = (
        f"INSERT INTO entry_ids VALUES ('req_new_' || md5(n::text), '{key_id}', 1000 + n);"
        if "entry_ids" in tables
        else ""
    )
    block = (
        f"DO $$ BEGIN FOR n IN 1..{inserts} LOOP "
        f"INSERT INTO {tables[0]} ({_COLUMNS}) VALUES ({values}); {also} END LOOP; END $$"
    )
    with engine.connect() as connection:
        started = time.monotonic()
        connection.exec_driver_sql(block)
        took = time.monotonic() - started
        connection.rollback()
    return took


def _page_seconds(engine: Engine, table: str) -> float:
    """The mean time for a thousand entries of a key, as its holder reads them, from memory."""
    chance = random.Random(1)
    page = text(
        f"SELECT * FROM {table} WHERE key_id = :key AND seq > :after ORDER BY seq LIMIT 1000"
    )
    with engine.connect() as connection:
        newest = connection.scalar(
            text("SELECT max(seq) FROM ledger_entries WHERE key_id = 'key_1'")
        )
        asked = [
            {
                "key": f"key_{chance.randrange(100)}",
                "after": chance.randrange(max(1, newest - 1000)),
            }
            for _ in range(_READS)
        ]
        # Twice: of the table that was written last, more would be in memory the first time.
        for _ in range(2):
            started = time.monotonic()
            for one in asked:
                connection.execute(page, one).all()
        return (time.monotonic() - started) / _READS


def _months(first_ms: int, last_ms: int) -> list[tuple[int, int]]:
    """The months (UTC) from the first moment to the last, each as [start, end)."""
    moment = datetime.fromtimestamp(first_ms / 1000, UTC)
    year, month = moment.year, moment.month
    starts = [_start(year, month)]
    while starts[-1] <= last_ms:
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        starts.append(_start(year, month))
    return list(itertools.pairwise(starts))


def _start(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


def _now() -> int:
    return time.time_ns() // 1_000_000
