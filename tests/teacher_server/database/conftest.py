"""The fixtures of the ledger tests."""

from tests.teacher_server.ledger.conftest import (
    books,
    dsn,
    migrated_file,
    postgres,
    postgres_dsn,
)

__all__ = ["books", "dsn", "migrated_file", "postgres", "postgres_dsn"]
