"""The page of all options of both sides, from the classes that define them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from student.options.options import NOT_IDENTIFYING, SECTIONS
from teacher_server.settings import VendorSettings

_INTRO = """\
# Configuration

Every option can be given in three ways. The command line wins over the environment, the
environment over the TOML file (`--config FILE`), the file over the default. A TOML file spells
options with underscores or dashes.
"""
_CLIENT = """
## distill-client

*Identifies a run*: with another value of this option the result is another student, so that runs,
checkpoints and rows of a bench with different values are kept apart.

The API key is read from `TEACHER_API_KEY` or from the file of `--key-file`, never from the command
line. `TEACHER_URL` is read where `DISTILL_VENDOR` is not set. A list is written in the environment
with commas. A TOML file may put options into tables named after the sections below. A variable
`DISTILL_…` that no option reads is refused, as an unknown option is in the file.
"""
_VENDOR = """
## teacher-server serve

`--config` and `--database` are options of `keys` and `ledger`, too. Options without a flag are
secrets and what belongs to them: other users of a machine can read its command lines. A variable
`TEACHER_…` that no option reads is named in a warning.
"""
_CACHE = """
## cache-report

| Environment | Meaning |
|---|---|
| `DISTILL_CACHE` | the cache folder, unless `--cache` names it (default: `./paid-cache`) |
| `TEACHER_API_KEY` | the vendor's key for `audit`, unless `--key-file` names a file |
"""


def configuration_page() -> str:
    """The whole page."""
    return "".join((_INTRO, _CLIENT, *_client_tables(), _VENDOR, _vendor_table(), _CACHE))


def _client_tables() -> Iterator[str]:
    header = "| Option, environment, TOML key | Default | Identifies a run | Meaning |\n"
    for title, section in SECTIONS.items():
        yield f"\n### {title.capitalize()}\n\n{header}|---|---|---|---|\n"
        for name, field in section.model_fields.items():
            identifies = "no" if name in NOT_IDENTIFYING else "yes"
            names = _names("DISTILL", name, has_flag=True)
            yield _row(names, _default(field), identifies, _meaning(field))


def _vendor_table() -> str:
    rows = [
        _row(
            _names("TEACHER", name, has_flag=name not in VendorSettings.not_flags),
            _default(field),
            _meaning(field),
        )
        for name, field in VendorSettings.model_fields.items()
    ]
    header = "\n| Option, environment, TOML key | Default | Meaning |\n|---|---|---|\n"
    return header + "".join(rows)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _names(prefix: str, name: str, *, has_flag: bool) -> str:
    """How an option is spelt on the command line, in the environment and in a TOML file."""
    flag = [f"--{name.replace('_', '-')}"] if has_flag else []
    return "<br>".join(f"`{spelt}`" for spelt in (*flag, f"{prefix}_{name.upper()}", name))


def _meaning(field: FieldInfo) -> str:
    choices = _choices(field)
    text = (field.description or "").replace("|", "\\|").replace("<", "&lt;")
    return f"{text}; {choices}" if choices else text


def _choices(field: FieldInfo) -> str:
    """The choices of a Literal."""
    if get_origin(field.annotation) is not Literal:
        return ""
    return f"one of {', '.join(f'`{value}`' for value in get_args(field.annotation))}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int) and value >= 2**20 and value % 2**20 == 0:
        return f"{value:,} ({value // 2**20:,} MiB)"
    if isinstance(value, int):
        return f"{value:,}"
    return f"`{value}`" if isinstance(value, str | Path) else json.dumps(value)
