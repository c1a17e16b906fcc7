"""Bringing the database to the newest schema, at every start, in one transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from teacher_server.database.engine import writing

_LOCK = 7_305_501  # any number, the same for every replica


def migrate(engine: Engine) -> None:
    """Apply the migrations that are missing; two servers starting at once do it one by one."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
