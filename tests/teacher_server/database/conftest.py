"""The fixtures of the ledger tests."""

from tests.teacher_server.ledger.conftest import dsn, one_key, postgres_dsn

__all__ = ["dsn", "one_key", "postgres_dsn"]
