"""The first API key: given by the operator, or made at the first start and left in a file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from teacher_server.atomic_file import write_atomically
from teacher_server.errors import KeyUnknown, LedgerError, SettingsError
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.ledger import Ledger
from teacher_server.settings import VendorSettings

_log = logging.getLogger("teacher_server")

# A fixed id, so that only one of several servers that start at once on a database makes the key;
# but not the id of docker/example.env, whose key can still be added later.
_MADE_ID = "default"
_HOW_TO_MAKE = "make a key with `teacher-server keys create --name NAME --budget QUERIES`"
_HOW_TO_SET = "set TEACHER_FIRST_KEY to it (with Docker Compose: in .env)"


def ensure_first_key(
    ledger: Ledger, settings: VendorSettings, *, show: Callable[[str], None]
) -> None:
    """Register the first key that `settings` give or ask for.

    `first_key` is registered as it is. Without it, `first_key_file` asks for a key in a ledger in
    which none was ever made: it is written to that file, then registered, then passed to `show`,
    once. In any other ledger no key is made, and the log says when the file's key is not valid.
    Raises SettingsError for a key or a file that cannot be used, LedgerError for a given key whose
    id is registered with another secret.
    """
    if settings.first_key is not None:
        key = ApiKey.parse(settings.first_key.get_secret_value())
        if key is None:
            message = (
                "TEACHER_FIRST_KEY is not of the form sk_<id>_<secret of 16 characters or more>"
            )
            raise SettingsError(message)
        _register(ledger, key, settings)
    elif settings.first_key_file is not None:
        if ledger.keys.exist():
            _check_file(ledger, settings.first_key_file)
        else:
            _make(ledger, settings.first_key_file, settings, show)


def _register(ledger: Ledger, key: ApiKey, settings: VendorSettings) -> None:
    ledger.keys.ensure(
        key,
        name="first",
        budget=settings.first_key_budget,
        price_version=settings.price_version,
    )


def _make(
    ledger: Ledger, path: Path, settings: VendorSettings, show: Callable[[str], None]
) -> None:
    made = ApiKey.new(_MADE_ID)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The file comes first: a key that is registered but written nowhere would be lost.
        is_new = write_atomically(path, made.token + "\n", overwrite=False, permissions=0o600)
    except OSError as error:
        message = (
            f"the first key cannot be written to {path} (TEACHER_FIRST_KEY_FILE): "
            f"{error.strerror}; no key was made"
        )
        raise SettingsError(message) from error
    key = made if is_new else _read(path)
    try:
        _register(ledger, key, settings)
    except LedgerError:
        if is_new:
            path.unlink()
        if not ledger.keys.exist():
            raise
        # Another server of this database, with a file of its own, made the key meanwhile.
        _check_file(ledger, path)
        return
    if is_new:
        show(
            f"first API key, with {settings.first_key_budget} queries (shown only now, and kept in "
            f"{path}): {key.token}"
        )
    else:
        _log.info("the first key is that of the file %s, registered in this new ledger", path)


def _check_file(ledger: Ledger, path: Path) -> None:
    """Say in the log whether clients that read their key from `path` will be served."""
    if not path.exists():
        _log.warning(
            "no first key was made: this ledger has keys already. %s does not exist, so clients "
            "find no key there: set TEACHER_FIRST_KEY to a key that you have, or %s and %s",
            path,
            _HOW_TO_MAKE,
            _HOW_TO_SET,
        )
        return
    key = _read(path)
    fault = _fault(ledger, key)
    if fault:
        _log.warning(
            "clients that read their key from %s will be refused: the key %s %s",
            path,
            key.id,
            fault,
        )
    else:
        _log.info("clients can read their key from %s", path)


def _fault(ledger: Ledger, key: ApiKey) -> str:
    """Why the ledger refuses the key, and what to do; empty for a valid key."""
    try:
        account = ledger.keys.get(key.id)
        ledger.keys.ensure(key, name="", budget=0, price_version="")
    except KeyUnknown:
        return f"is not in this ledger; {_HOW_TO_MAKE} and {_HOW_TO_SET}"
    except LedgerError:
        return f"was rotated; take the key that rotating showed, and {_HOW_TO_SET}"
    if account.revoked_ms is not None:
        return f"was revoked; {_HOW_TO_MAKE} and {_HOW_TO_SET}"
    if account.expires_ms is not None and account.expires_ms <= unix_ms():
        return f"has expired; `teacher-server keys limits {key.id} --expires-days 0` revives it"
    return ""


def _read(path: Path) -> ApiKey:
    """The key in the file; no message ever holds what the file holds."""
    try:
        key = ApiKey.parse(path.read_text(encoding="ascii").strip())
    except OSError as error:
        message = f"the first key cannot be read from {path}: {error.strerror}"
        raise SettingsError(message) from error
    except UnicodeDecodeError:
        key = None
    if key is None:
        message = f"{path} (TEACHER_FIRST_KEY_FILE) does not hold an API key: remove or replace it"
        # From None: what could not be decoded may be part of a key.
        raise SettingsError(message) from None
    return key
