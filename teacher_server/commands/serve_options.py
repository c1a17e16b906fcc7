"""The options of `serve` on a command line, made from the fields of the settings."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, get_args, get_origin

from teacher_server.settings import VendorSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def add_options(parser: argparse.ArgumentParser, *, shown: bool = True) -> None:
    """Add every option that is not secret; with `shown=False`, without a line in the help."""
    for name, field in VendorSettings.model_fields.items():
        if name not in VendorSettings.not_flags:
            described = f"{field.description}{_default(name, field)}"
            parser.add_argument(
                "--" + name.replace("_", "-"),
                type=int if int in (field.annotation, *get_args(field.annotation)) else str,
                default=argparse.SUPPRESS,
                metavar=_metavar(field),
                help=described if shown else argparse.SUPPRESS,
            )


def sources_of_options() -> str:
    """Where options are read from, and those that have no flag, as the end of a help text."""
    only_elsewhere = [
        textwrap.indent(textwrap.fill(f"TEACHER_{name.upper()}: {field.description}", 78), "  ")
        for name, field in VendorSettings.model_fields.items()
        if name in VendorSettings.not_flags
    ]
    return "\n".join(
        (
            "Every option is also an environment variable (--max-items: TEACHER_MAX_ITEMS) and",
            "a key of the TOML file (max_items). Flags override the environment, which",
            "overrides the file. The following have no flag, because other users of a machine",
            "can see its command lines:",
            *only_elsewhere,
        )
    )


def _metavar(field: FieldInfo) -> str:
    types = (field.annotation, *get_args(field.annotation))  # an optional type, and its parts
    choices = [one for part in types for one in get_args(part) if isinstance(one, str)]
    if choices:
        return "{" + ",".join(dict.fromkeys(choices)) + "}"
    if any(get_origin(part) is tuple for part in types):
        return "R,G,B"
    return "N" if int in types else "VALUE"


def _default(name: str, field: FieldInfo) -> str:
    default = field.default
    if default is None:
        return ""
    if "bytes" in name:
        return f", in bytes (default: {default}, {default // 2**20} MiB)"
    return f" (default: {default})"
