"""Reads the options from flags, environment (TEACHER_…), TOML file and defaults.

The first of these that gives an option wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from teacher_server.errors import SettingsError
from teacher_server.settings.options import VendorSettings
from teacher_server.settings.user_path import user_path


def load_settings(flags: Mapping[str, Any], *, config: Path | None = None) -> VendorSettings:
    """Read the settings; `flags` are the options given on the command line, by field name.

    Raises SettingsError, which names the option and what is wrong with it.
    """
    try:
        config = None if config is None else user_path(config)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if config is not None and not config.is_file():
        message = f"the configuration file {config} does not exist"
        raise SettingsError(message)

    class Sourced(VendorSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = TomlConfigSettingsSource(settings_cls, toml_file=config)
            return init_settings, env_settings, toml

    try:
        return Sourced(**flags)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        option = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        message = f"option {option}: {what}" if option else what
        raise SettingsError(message) from error
    except ValueError as error:
        message = f"the configuration file {config} is not valid TOML: {error}"
        raise SettingsError(message) from error
