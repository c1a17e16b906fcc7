"""The subcommands of `distill-client`; each is a module of this folder with `main` and `parser`."""

from __future__ import annotations

ONLY_PRINTS = (
    *("predict", "evaluate", "embed", "export", "forecast", "demo-data", "doctor", "init"),
    "completion",
)
"""The subcommands of which all that counts is printed, or written before they print."""
SUBCOMMANDS = frozenset({*ONLY_PRINTS, "bench", "serve", "shared-budget"})
READ_ALL_OPTIONS = frozenset({"bench", "doctor"})
"""The subcommands that take the options of `distill-client` itself as well."""


def module_of(command: str) -> str:
    """The name of the module that has the subcommand."""
    return f"student.commands.{command.replace('-', '_')}"
