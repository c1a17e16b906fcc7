"""The options as environment variables, and variables that no option reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

from teacher_server.settings.options import VendorSettings

_PREFIX: Final = "TEACHER_"
# What the client reads, and what docker-compose.yml reads for itself.
_OF_OTHERS: Final = frozenset({"url", "api_key", "bind", "domain"})


def unread_variables() -> tuple[str, ...]:
    """The variables that have the options' prefix and a value, and that nobody reads."""
    known = _OF_OTHERS | VendorSettings.model_fields.keys()
    found = (name for name, value in os.environ.items() if value)
    return tuple(
        sorted(
            name
            for name in found
            if name.upper().startswith(_PREFIX)
            and name.upper().removeprefix(_PREFIX).lower() not in known
        )
    )


def as_environment(settings: VendorSettings) -> Mapping[str, str]:
    """A variable for each option that has a value, from which `load_settings` reads the same.

    The values hold secrets.
    """
    found = {}
    for name in VendorSettings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if isinstance(value, tuple):
            value = ",".join(map(repr, value))
        if value is not None:
            found[f"{_PREFIX}{name.upper()}"] = str(value)
    return found
