"""Reads the options: command line over environment over TOML file over default."""

from __future__ import annotations

import argparse
import os
import tomllib
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from student.errors import BadInput
from student.options.data import DataOptions
from student.options.environment import require_options
from student.options.options import SECTION_OF, SECTIONS, Options
from student.options.output import Output, add_output_options, output_options
from student.options.presets import PRESETS, PresetName
from student.options.purchase import PurchaseOptions
from student.options.renamed_options import RENAMED, RETIRED, current_arguments, current_options
from student.options.run import RunOptions
from student.options.section import bad_input, user_path
from student.options.training import TrainingOptions

_PREFIX = "DISTILL_"


class CommandLine(RunOptions, TrainingOptions, PurchaseOptions, DataOptions, BaseSettings):
    """Buy a teacher's embeddings within a budget and distil them into a small student.

    Subcommands, each with its own --help: `distill-client predict IMAGE…` (classify images with a
    finished student, no vendor needed), `distill-client evaluate` (measure it on a labelled
    folder), `distill-client embed IMAGE…` (embed images with it), `distill-client serve` (answer
    /v1/embeddings with it), `distill-client export` (write it as ONNX, or for torch or timm),
    `distill-client bench` (compare methods on your own folder), `distill-client forecast RUN…`
    (what more queries would add), `distill-client shared-budget` (one budget for several caches),
    `distill-client demo-data` (write the emoji data set), `distill-client init` (write a
    configuration file), `distill-client doctor` (find what would stop a run), `distill-client
    completion` (complete the command line in a shell). Every option can also be set in the
    environment (DISTILL_BUDGET=…) and in the TOML file given with --config.
    """

    # Bases are listed backwards: pydantic collects the fields of the last base first.
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="forbid", cli_kebab_case=True, cli_implicit_flags=True
    )
    in_file: ClassVar[dict[str, object]] = {}
    of_preset: ClassVar[dict[str, object]] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Adds old spellings in the environment, TEACHER_URL after DISTILL_VENDOR, and the file."""
        url = os.environ.get("TEACHER_URL")
        return (
            init_settings,
            InitSettingsSource(settings_cls, _respelt_in_environment()),
            env_settings,
            InitSettingsSource(settings_cls, {"vendor": url} if url else {}),
            InitSettingsSource(settings_cls, cls.in_file),
            InitSettingsSource(settings_cls, cls.of_preset),
        )


PATHS = frozenset({"data", "out", "cache", "key_file", "config"})
"""The options that name a file or a folder."""


def parser() -> argparse.ArgumentParser:
    """The parser of the command line, which reads nothing by itself."""
    source: CliSettingsSource[Any] = CliSettingsSource(
        CommandLine, cli_prog_name="distill-client", add_argument_method=_add_to_group
    )
    made: argparse.ArgumentParser = source.root_parser
    return made


def read_options(argv: Sequence[str]) -> Options:
    """The options that this command line asks for; old spellings are named on stderr.

    Raises BadInput, naming the option, for what cannot be used and for a variable of the
    environment that no option reads; exits as argparse does on --help.
    """
    if output_options(argv)[0] != Output():
        message = "--json and --quiet are options of a run, not of this command"
        raise BadInput(message)
    arguments = current_arguments(argv)
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--config", default=os.environ.get(f"{_PREFIX}CONFIG"))
    early.add_argument("--preset", default=os.environ.get(f"{_PREFIX}PRESET"))
    try:
        known = early.parse_known_args(arguments)[0]
    except argparse.ArgumentError:
        known = argparse.Namespace(config=None, preset=None)  # the whole parser reports it below
    found = _options_in(known.config) if known.config else {}
    preset = known.preset or found.get("preset")

    class Configured(CommandLine):
        __doc__ = cleandoc(CommandLine.__doc__ or "")
        in_file = found
        # An unknown preset is reported with the other options.
        of_preset = dict(PRESETS.get(cast("PresetName", preset), {}))

    parsed: CliSettingsSource[Any] = CliSettingsSource(
        Configured,
        cli_prog_name="distill-client",
        cli_parse_args=arguments,
        cli_exit_on_error=True,
        add_argument_method=_add_to_group,
    )
    try:
        read = Configured(_cli_settings_source=parsed)
    except ValidationError as error:
        raise bad_input(error) from error
    require_options(_PREFIX, {*SECTION_OF, *RENAMED, *RETIRED})
    return Options.of({name: getattr(read, name) for name in read.model_fields_set})


def _add_to_group(parser: argparse.ArgumentParser, *names: str, **kwargs: Any) -> argparse.Action:
    """Adds an option under the heading of its section."""
    section = SECTION_OF.get(str(kwargs.get("dest")))
    if section is None:
        return parser.add_argument(*names, **kwargs)
    for group in parser._action_groups:
        if group.title == section:
            return group.add_argument(*names, **kwargs)
    made = parser.add_argument_group(section).add_argument(*names, **kwargs)
    if section == list(SECTIONS)[-1]:
        add_output_options(parser)
    return made


def _respelt_in_environment() -> dict[str, object]:
    """The options in the environment that have another spelling today, by today's names."""
    found = {
        name.upper().removeprefix(_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.upper().startswith(_PREFIX)
    }
    current = current_options(found, lambda name: f"{_PREFIX}{name.upper()}")
    return {name: value for name, value in current.items() if found.get(name) != value}


def _options_in(named: str) -> dict[str, object]:
    """The options of a TOML file, spelt as on the command line or with underscores, loose or in
    tables named after the sections."""
    try:
        path = user_path(named)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if not path.is_file():
        message = f"no configuration file {path}"
        raise BadInput(message)
    try:
        read = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        message = f"cannot read the configuration file {path}: {error.strerror}"
        raise BadInput(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise BadInput(message) from error
    options: dict[str, object] = {}
    for name, value in _flat(read, path):
        if name in options:
            message = f"{path} gives the option {name} twice, in two spellings"
            raise BadInput(message)
        options[name] = value
    current = current_options(options, str)
    for name, value in current.items():
        # pydantic reads true as 1: a budget of one query.
        if isinstance(value, bool) and name in SECTION_OF and not _is_switch(name):
            message = f"options that cannot be used: {name}: it is no switch, and {path} says " + (
                "true" if value else "false"
            )
            raise BadInput(message)
    return current


def _is_switch(name: str) -> bool:
    return SECTIONS[SECTION_OF[name]].model_fields[name].annotation is bool


def _flat(read: Mapping[str, Any], path: Path) -> list[tuple[str, Any]]:
    """The options of the file and of its tables, with underscores."""
    found: list[tuple[str, Any]] = []
    for spelt, value in read.items():
        if spelt not in SECTIONS or not isinstance(value, dict):
            found.append((spelt.replace("-", "_"), value))
            continue
        of_table = [(name.replace("-", "_"), inner) for name, inner in value.items()]
        for name, _ in of_table:
            belongs = SECTION_OF.get(RENAMED.get(name, name))
            if belongs not in (spelt, None):
                message = f"{path}: {name} belongs in the table [{belongs}], not [{spelt}]"
                raise BadInput(message)
        found += of_table
    return found
