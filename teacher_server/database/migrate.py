"""Migrates the database to the newest schema at each start, in one transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from teacher_server.database.engine import read_transaction, write_transaction

_LOCK = 7_305_501  # an arbitrary number, the same for all replicas


def migrate(engine: Engine) -> None:
    """Apply the missing migrations; servers that start at the same time take turns."""
    config = _configuration()
    with write_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def schema_age(engine: Engine) -> Literal["none", "older", "current", "unknown"]:
    """The database's schema against that of this version; changes nothing.

    "none" is a database without a ledger; "unknown" is most likely the schema of a newer version.
    """
    scripts = ScriptDirectory.from_config(_configuration())
    with read_transaction(engine) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return "none"
    if revision == scripts.get_current_head():
        return "current"
    known = {script.revision for script in scripts.walk_revisions()}
    return "older" if revision in known else "unknown"


def _configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
