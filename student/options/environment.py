"""Environment variables that look like options and are none."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches

from student.errors import BadInput


def require_options(prefix: str, options: Collection[str]) -> None:
    """Raises BadInput if a variable with this prefix names none of these options: it is misspelt,
    and the run would be another than the one that the user asks for."""
    given = {name.upper().removeprefix(prefix).lower() for name in _with(prefix)}
    unknown = []
    for name in sorted(given - set(options)):
        near = get_close_matches(name, options, n=1)
        hint = f" (did you mean {prefix}{near[0].upper()}?)" if near else ""
        unknown.append(f"{prefix}{name.upper()}{hint}")
    if unknown:
        message = (
            f"the environment sets {', '.join(unknown)}, which no option reads. Nothing was "
            "bought; correct or unset it"
        )
        raise BadInput(message)


def _with(prefix: str) -> list[str]:
    return [name for name in os.environ if name.upper().startswith(prefix)]
