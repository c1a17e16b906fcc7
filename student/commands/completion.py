"""`distill-client completion`: prints a script that completes the command line in a shell."""

from __future__ import annotations

import argparse
from importlib import import_module

import shtab

from student.commands.names import READ_ALL_OPTIONS, SUBCOMMANDS, module_of
from student.options import read
from student.options.section import user_path

SHELLS = ("bash", "zsh", "fish")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client completion",
        description="Print a script with which a shell completes distill-client. For bash: "
        'eval "$(distill-client completion bash)"; for zsh and fish, write it into a folder of '
        "completions.",
    )
    made.add_argument("shell", choices=SHELLS)
    return made


def main(arguments: list[str]) -> int:
    """Prints the script."""
    options = parser().parse_args(arguments)
    print(shtab.complete(_whole(), options.shell))
    return 0


def _whole() -> argparse.ArgumentParser:
    """The options of a run, and every subcommand with its own."""
    whole = read.parser()
    of_run = read.parser()
    commands = whole.add_subparsers()
    for name in sorted(SUBCOMMANDS):
        own = import_module(module_of(name)).parser()
        said = (own.description or "").partition(". ")[0]
        added = commands.add_parser(name, parents=[own], add_help=False, help=said)
        for action in of_run._actions if name in READ_ALL_OPTIONS else ():
            if not set(action.option_strings) & set(added._option_string_actions):
                added._add_action(action)
    for each in (whole, *commands.choices.values()):
        for action in each._actions:
            if action.type is user_path or action.dest in read.PATHS:
                action.complete = shtab.FILE  # type: ignore[attr-defined] # as shtab reads it
    return whole
