"""What the vendor needs before it can run on Ray Serve."""

from __future__ import annotations

from importlib.util import find_spec

from teacher_server.database.engine import database_url
from teacher_server.errors import SettingsError
from teacher_server.settings import VendorSettings


def require_ray(settings: VendorSettings) -> None:
    """Raise SettingsError where the extra is not installed, or the ledger is not PostgreSQL.

    Raises LedgerError for a database that no DSN names.
    """
    if find_spec("ray") is None:
        message = (
            "--serve-with ray needs Ray Serve: uv pip install 'rented-teacher[ray]', or use "
            "--serve-with uvicorn"
        )
        raise SettingsError(message)
    if database_url(settings.database).get_backend_name() != "postgresql":
        message = (
            "--serve-with ray runs several processes on one ledger, which SQLite cannot share: "
            "set TEACHER_DATABASE to postgresql://…, or use --serve-with uvicorn; nothing was "
            "started"
        )
        raise SettingsError(message)
