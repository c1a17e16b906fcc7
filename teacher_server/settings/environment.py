"""The options as environment variables, for processes that inherit this one's environment."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import SecretStr

from teacher_server.settings.options import VendorSettings


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
            found[f"TEACHER_{name.upper()}"] = str(value)
    return found
