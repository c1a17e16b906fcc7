"""The pages of the three command lines: the --help of every subcommand."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from unittest import mock

WIDTH = "88"  # columns of the help texts, whatever the terminal
_INTRO = {
    "distill-client": (
        "The client: buys a teacher's embeddings within a budget and distils them into a student. "
        "The options are grouped, with their environment variables, in "
        "[configuration](configuration.md); the methods are explained in [methods](methods.md), "
        "the exit codes in [exit codes](exit-codes.md)."
    ),
    "teacher-server": (
        "The vendor: sells embeddings by the query. See [running a vendor]"
        "(../guides/run-a-vendor.md) and [keys and budgets](../guides/keys-and-budgets.md)."
    ),
    "cache-report": (
        "Reports on, checks and repairs a cache of paid answers. See [auditing](../guides/audit.md)"
        " and [recovering a cache](../guides/recover-a-cache.md)."
    ),
}
_MODULES = {
    "distill-client": "student.cli",
    "teacher-server": "teacher_server.cli",
    "cache-report": "cache.cli",
}
# Subcommands that the program reads itself, before it makes a parser; each makes its own parser.
OWN_PARSERS = {
    "distill-client": (
        *("init", "doctor", "predict", "evaluate", "embed", "serve", "export"),
        *("bench", "forecast", "shared-budget", "demo-data", "completion"),
    ),
    "teacher-server": (),
    "cache-report": (),
}


def command_page(program: str) -> str:
    """The page of one program: its own help, then that of each subcommand."""
    main = import_module(_MODULES[program]).main
    with mock.patch.dict(os.environ, {"COLUMNS": WIDTH, "NO_COLOR": "1"}):
        # As if `serve` were asked for: the vendor adds its options only then.
        parsers = [_parser_of(main, ["serve"] if program == "teacher-server" else [])]
        parsers += [_parser_of(main, [name]) for name in OWN_PARSERS[program]]
        sections = [section for parser in parsers for section in _sections(parser)]
    return f"# {program}\n\n{_INTRO[program]}\n" + "".join(sections)


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    help_text = textwrap.dedent(parser.format_help()).rstrip()
    yield f"\n## {parser.prog}\n\n```text\n{help_text}\n```\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            # A subcommand without a help text is an old spelling, which is read and not shown.
            for shown in action._choices_actions:
                yield from _sections(action.choices[shown.dest])


class _Captured(Exception):
    """Not an error: carries the parser out of the program that was about to use it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _parser_of(
    main: Callable[[Sequence[str]], int], argv: Sequence[str]
) -> argparse.ArgumentParser:
    """The parser with which `main` would read this command line."""
    with _capturing():
        try:
            main([*argv, "--help"])
        except _Captured as captured:
            return captured.parser
    message = f"no command line is parsed for {list(argv)}"
    raise RuntimeError(message)


@contextmanager
def _capturing() -> Iterator[None]:
    original = argparse.ArgumentParser.parse_known_args

    def capture(self: argparse.ArgumentParser, *args: object, **kwargs: object) -> object:
        if "--help" in self._option_string_actions:
            raise _Captured(self)
        return original(self, *args, **kwargs)

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", capture):
        yield
