"""Terminal output of a run: lines, tables, warnings and progress bars; plain text when piped."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cache.standard_output import discard_output
from student.options.output import Output

LOG_SECONDS = 20  # between two lines of a bar where the output is not a terminal


class PipedConsole(Console):
    """A console that prints nothing more once the reader of its pipe, such as `head`, is gone.

    rich would end the program: here its work goes on, and its exit code says how it went.
    """

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_output()


class Terminal:
    """Prints to a console. Bars are redrawn on a terminal, and print a few lines into a log."""

    def __init__(self, console: Console, *, warnings: Console | None = None) -> None:
        self._console = console
        self._warnings = warnings or console

    @property
    def width(self) -> int:
        """Characters in a line."""
        return self._console.width

    def say(self, text: str) -> None:
        """Print a line about the progress."""
        self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Print a line as a warning."""
        self._warnings.print(f"warning: {text}", style="yellow", highlight=False, markup=False)

    def heading(self, text: str) -> None:
        """Print the title of the next section."""
        self._console.print(f"\n{text}", style="bold", highlight=False, markup=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table: the first column left-aligned, the others right-aligned."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(columns):
            justify: Literal["left", "right"] = "left" if index == 0 else "right"
            table.add_column(Text(column), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))  # a name in brackets is no markup
        self._console.print(table)

    def markdown(self, text: str) -> None:
        """Print a section of a report."""
        self._console.print(Markdown(text))

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[[int, int, str], None]]:
        """A progress bar; call what it yields with done, total and a note."""
        with self.bars([label]) as update:
            yield partial(update, label)

    @contextmanager
    def bars(
        self, labels: Sequence[str], *, is_shown: bool = True
    ) -> Iterator[Callable[[str, int, int, str], None]]:
        """Several progress bars; call what it yields with label, done, total and a note."""
        in_a_log = is_shown and not self._console.is_terminal
        last: dict[str, str] = {}
        said_at = time.monotonic()
        with self._progress(is_shown=is_shown) as progress:
            tasks = {label: progress.add_task(label, total=None, note="") for label in labels}

            def update(label: str, done: int, total: int, note: str) -> None:
                nonlocal said_at
                progress.update(tasks[label], completed=done, total=total, note=note)
                last[label] = f"{label}: {done:,} of {total:,} {note}"
                if in_a_log and time.monotonic() - said_at > LOG_SECONDS:
                    said_at = time.monotonic()
                    self.say(last[label])

            yield update
        if in_a_log:
            for line in last.values():
                self.say(line)

    def _progress(self, *, is_shown: bool) -> Progress:
        return Progress(
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=not (is_shown and self._console.is_terminal),
        )


def terminal(output: Output | None = None) -> Terminal:
    """Standard output; standard error for what is printed beside JSON, and for the warnings that
    `--quiet` leaves."""
    if output is None or output == Output():
        return Terminal(PipedConsole())
    errors = PipedConsole(stderr=True)
    return Terminal(Console(quiet=True), warnings=errors) if output.quiet else Terminal(errors)


def quiet() -> Terminal:
    """A terminal whose output is discarded."""
    return Terminal(Console(quiet=True))
