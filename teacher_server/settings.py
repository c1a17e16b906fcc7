"""Every option of the vendor: flags over environment (TEACHER_…) over TOML file over default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from teacher_server.errors import SettingsError
from teacher_server.ledger.price import Price

# Upper bounds keep sums and dates within what a database's integer and a calendar can hold: beyond
# them a server would start, say that it is ready, and fail at every purchase.
LONGEST_SECONDS = 86_400


class VendorSettings(BaseSettings):
    """What the vendor sells, where, within which limits, and at what price."""

    model_config = SettingsConfigDict(
        env_prefix="TEACHER_",
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    model: str = "embedded"
    pretrained: str | None = None
    device: str = "cpu"
    dtype: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = Field(default=None, ge=1)

    database: str = "sqlite:///./vendor/ledger.db"
    lease_seconds: int = Field(default=120, ge=10, le=LONGEST_SECONDS)

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    url_file: Path | None = None
    shutdown_seconds: int = Field(default=20, ge=1, le=LONGEST_SECONDS)

    header_seconds: int = Field(default=10, ge=1, le=LONGEST_SECONDS)
    body_seconds: int = Field(default=120, ge=1, le=LONGEST_SECONDS)
    keep_alive_seconds: int = Field(default=15, ge=1, le=LONGEST_SECONDS)
    max_connections: int = Field(default=20_000, ge=1)

    max_items: int = Field(default=256, ge=1)
    max_image_bytes: int = Field(default=20 * 2**20, ge=1)
    max_image_pixels: int = Field(default=50_000_000, ge=1)
    max_text_chars: int = Field(default=8192, ge=1)
    max_body_bytes: int = Field(default=64 * 2**20, ge=1)
    max_bytes_in_flight: int = Field(default=2**30, ge=1)
    max_queue: int = Field(default=1024, ge=1)
    max_batch: int = Field(default=64, ge=1)
    max_delay_ms: int = Field(default=3, ge=0)

    requests_per_minute: int = Field(default=6000, ge=1)
    max_concurrent: int = Field(default=64, ge=1)

    price_version: str = Field(default="2026-11", min_length=1, max_length=64)
    micro_usd_per_unit: int = Field(default=100, ge=0, le=10**12)

    answer_days: int = Field(default=90, ge=0, le=36_500)

    webhook_url: HttpUrl | None = None
    webhook_secret: SecretStr | None = Field(default=None, min_length=16)

    pepper: SecretStr | None = Field(default=None, min_length=32)
    first_key: SecretStr | None = None
    first_key_budget: int = Field(default=100_000, ge=0)

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            message = "webhook_url needs webhook_secret (TEACHER_WEBHOOK_SECRET) to sign with"
            raise ValueError(message)
        return self

    @property
    def price(self) -> Price:
        """The price list that these settings publish."""
        return Price(version=self.price_version, micro_usd_per_unit=self.micro_usd_per_unit)

    @property
    def given_pepper(self) -> str | None:
        """The pepper that was given, if one was."""
        return None if self.pepper is None else self.pepper.get_secret_value()


def load_settings(flags: Mapping[str, Any], *, config: Path | None = None) -> VendorSettings:
    """The settings by precedence; SettingsError names the option and what is wrong with it."""
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
        message = f"{config} is not readable as TOML: {error}"
        raise SettingsError(message) from error
