"""Every option of the vendor, with its default, its limits and its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from teacher_server.ledger.purchase import Price
from teacher_server.settings.user_path import user_path

# Upper bounds keep sums and dates within what a database's integer and a calendar can hold. Beyond
# them, a server would start, report that it is ready, and fail at every purchase.
LONGEST_SECONDS = 86_400
MOST_REPLICAS = 1000


def _numbers(value: object) -> object:
    """The numbers between commas; a value that is not text is unchanged."""
    return (
        [part.strip() for part in value.strip("[] ").split(",")]
        if isinstance(value, str)
        else value
    )


_Number = Annotated[float, Field(allow_inf_nan=False, ge=-10, le=10)]
Triple = Annotated[tuple[_Number, _Number, _Number] | None, NoDecode, BeforeValidator(_numbers)]


class VendorSettings(BaseSettings):
    """What the vendor sells, where it listens, its limits and its price.

    The command line, its help and the reference are made from these fields: a field's description
    is its help sentence. The order here is the order of the help.
    """

    model_config = SettingsConfigDict(
        env_prefix="TEACHER_",
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )
    # Secrets and what belongs to them: other users of the machine can read a command line.
    not_flags: ClassVar[frozenset[str]] = frozenset(
        {"webhook_url", "webhook_secret", "pepper", "first_key", "first_key_budget"}
    )

    model: str = Field(
        "embedded",
        description="model to serve: embedded, a folder, a checkpoint file, hf-hub:ORG/NAME, an "
        "open_clip architecture, or recorded:FOLDER for answers that were recorded before",
    )
    pretrained: str | None = Field(
        None, description="weights for an open_clip architecture: one of its tags, or a file"
    )
    image_mean: Triple = Field(
        None,
        description="mean of red, green and blue, 0 to 1, that the weights were made with; needed "
        "where they do not state it, and so are the next three",
    )
    image_std: Triple = Field(None, description="standard deviation of red, green and blue, 0 to 1")
    interpolation: Literal["bicubic", "bilinear"] | None = Field(
        None, description="interpolation with which an image is resized"
    )
    resize_mode: Literal["shortest", "longest", "squash"] | None = Field(
        None,
        description="how an image becomes square: its shortest side is fitted and the rest is cut "
        "off, its longest side is fitted and the rest is filled, or it is squashed",
    )
    device: str = Field("cpu", description="device that the model runs on: cpu or cuda")
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="precision of the model")
    engine: Literal["torch", "onnx"] = Field(
        "torch",
        description="what computes image embeddings: torch, or ONNX Runtime, which is faster for "
        "batches on CPUs and changes the last bits; sold as another model",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads that the model uses (default: one for each core)"
    )
    log_format: Literal["text", "json"] = Field("text", description="format of the log on stderr")

    database: str = Field(
        "sqlite:///./vendor/ledger.db",
        description="ledger database: sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME",
    )
    lease_seconds: int = Field(
        120,
        ge=10,
        le=LONGEST_SECONDS,
        description="how long queries stay reserved for a request without an answer, in seconds",
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 chooses a free port")
    url_file: Path | None = Field(
        None, description="file to write the server's URL to once it accepts connections"
    )
    shutdown_seconds: int = Field(
        20,
        ge=1,
        le=LONGEST_SECONDS,
        description="how long open requests may take to finish after a stop signal, in seconds",
    )

    serve_with: Literal["uvicorn", "ray"] = Field(
        "uvicorn",
        description="what serves the requests: uvicorn in this process, or Ray Serve with replicas "
        "of the API and of the model, on a PostgreSQL ledger",
    )
    min_api_replicas: int = Field(
        2, ge=1, le=MOST_REPLICAS, description="replicas of the API on Ray Serve, at least"
    )
    max_api_replicas: int = Field(
        4, ge=1, le=MOST_REPLICAS, description="replicas of the API on Ray Serve, at most"
    )
    min_encoder_replicas: int = Field(
        1, ge=1, le=MOST_REPLICAS, description="replicas of the model on Ray Serve, at least"
    )
    max_encoder_replicas: int = Field(
        2, ge=1, le=MOST_REPLICAS, description="replicas of the model on Ray Serve, at most"
    )

    header_seconds: int = Field(
        10, ge=1, le=LONGEST_SECONDS, description="header read timeout, in seconds"
    )
    body_seconds: int = Field(
        120,
        ge=1,
        le=LONGEST_SECONDS,
        description="body read timeout, and timeout for the client to read its answer, in seconds",
    )
    keep_alive_seconds: int = Field(
        15, ge=1, le=LONGEST_SECONDS, description="keep-alive timeout, in seconds"
    )
    max_connections: int = Field(20_000, ge=1, description="open connections, at most")

    max_items: int = Field(256, ge=1, description="items in a request, at most")
    max_image_bytes: int = Field(20 * 2**20, ge=1, description="size of an image file, at most")
    max_image_pixels: int = Field(50_000_000, ge=1, description="pixels in an image, at most")
    max_text_chars: int = Field(8192, ge=1, description="characters in a text, at most")
    max_body_bytes: int = Field(64 * 2**20, ge=1, description="size of a request body, at most")
    max_bytes_in_flight: int = Field(
        2**30, ge=1, description="memory for the bodies of all open requests together, at most"
    )
    max_queue: int = Field(1024, ge=1, description="items waiting for the model, at most")
    max_batch: int = Field(64, ge=1, description="items in a batch of the model, at most")
    max_delay_ms: int = Field(
        0,
        ge=0,
        description="how long the model waits for a batch to fill, in milliseconds; items that "
        "arrive while it works form the next batch in any case",
    )

    requests_per_minute: int = Field(
        6000, ge=1, description="requests per minute for a key without a limit of its own"
    )
    max_concurrent: int = Field(
        64, ge=1, description="concurrent requests for a key without a limit of its own"
    )

    price_version: str = Field(
        "2026-11",
        min_length=1,
        max_length=64,
        description="name of the price list; change it whenever the price changes",
    )
    micro_usd_per_unit: int = Field(
        100, ge=0, le=10**12, description="price of a query, in millionths of a US dollar"
    )

    answer_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="how long stored answers are kept, in days; 0 keeps them forever",
    )

    webhook_url: HttpUrl | None = Field(
        None,
        description="URL that receives a signed POST when a key reaches 80% and 100% of its budget",
    )
    webhook_secret: SecretStr | None = Field(
        None, min_length=16, description="secret that signs these posts, 16 characters or more"
    )

    pepper: SecretStr | None = Field(
        None,
        min_length=32,
        description="secret that API keys are hashed with, 32 characters or more; without it, "
        "SQLite's is made in a file beside the database",
    )
    first_key: SecretStr | None = Field(
        None, description="API key to create at the first start, sk_<id>_<secret>"
    )
    first_key_file: Path | None = Field(
        None,
        description="file to leave a new first key in, if the ledger has no key yet; the key is "
        "also printed, once",
    )
    first_key_budget: int = Field(100_000, ge=0, description="budget of that first key, in queries")

    @field_validator("url_file", "first_key_file")
    @classmethod
    def _path_of_user(cls, value: Path | None) -> Path | None:
        return None if value is None else user_path(value)

    @field_validator("model", "pretrained")
    @classmethod
    def _name_or_path_of_user(cls, value: str | None) -> str | None:
        return str(user_path(value)) if value and value.startswith("~") else value

    @model_validator(mode="after")
    def _deviation_divides(self) -> Self:
        if self.image_std is not None and min(self.image_std) <= 0:
            message = "image_std must be positive: pixels are divided by it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _most_replicas_are_not_fewer_than_least(self) -> Self:
        for kind, least, most in (
            ("api", self.min_api_replicas, self.max_api_replicas),
            ("encoder", self.min_encoder_replicas, self.max_encoder_replicas),
        ):
            if most < least:
                message = (
                    f"max_{kind}_replicas is {most}, fewer than min_{kind}_replicas, {least}: "
                    f"raise it or lower the other"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _webhook_is_signed(self) -> Self:
        if self.webhook_url is not None and self.webhook_secret is None:
            message = "webhook_url needs webhook_secret (TEACHER_WEBHOOK_SECRET) to sign with"
            raise ValueError(message)
        return self

    @property
    def preprocess(self) -> dict[str, Any]:
        """The fields of the model's preprocessing; None for those that are not given."""
        return {
            "mean": self.image_mean,
            "std": self.image_std,
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
        }

    @property
    def price(self) -> Price:
        """The published price list."""
        return Price(version=self.price_version, micro_usd_per_unit=self.micro_usd_per_unit)

    @property
    def given_pepper(self) -> str | None:
        """The pepper from the environment or the file, or None."""
        return None if self.pepper is None else self.pepper.get_secret_value()
