"""Migrates the database to the newest schema at each start, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from teacher_server.database.engine import write_transaction

_LOCK = 7_305_501  # an arbitrary number, the same for all replicas


def migrate(engine: Engine) -> None:
    """Apply the missing migrations; servers that start at the same time take turns."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
