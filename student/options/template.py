"""Writes a TOML file that names every option with its help, for a user to edit."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping

from pydantic.fields import FieldInfo

from student.options.options import SECTIONS

_WIDTH = 88
_ON_THE_COMMAND_LINE = frozenset({"config", "dry_run"})


def toml_template(values: Mapping[str, object]) -> str:
    """Every option in the table of its section; those without a value here are comments.

    `values` are numbers, texts, truth values and lists of texts, by the names of the options.
    """
    parts = [
        "# Options of distill-client: distill-client --config THIS_FILE. A line that starts with #",
        "# is not read; it shows the default.",
    ]
    for title, section in SECTIONS.items():
        parts += ["", f"[{title}]"]
        for name, field in section.model_fields.items():
            if name not in _ON_THE_COMMAND_LINE:
                parts += _lines(name, field, values)
    return "\n".join(parts) + "\n"


def _lines(name: str, field: FieldInfo, values: Mapping[str, object]) -> list[str]:
    comment = [f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH - 2)]
    if name in values:
        return [*comment, f"{name} = {_toml(values[name])}"]
    default = field.get_default(call_default_factory=True)
    if default is None:
        return [*comment, f"# {name} has no default"]
    return [*comment, f"# {name} = {_toml(default)}"]


def _toml(value: object) -> str:
    # JSON's texts, numbers, truth values and lists are TOML's, too.
    return json.dumps(value if isinstance(value, int | float | list) else str(value))
