"""What a person sees while a job runs: the plan, progress bars, warnings. Plain where piped."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import StringIO

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from student.purchase.plan import Plan, dollars
from student.purchase.progress import Listener
from student.purchase.progress import Progress as Purchased


class Terminal:
    """Prints to a console; bars redraw on a terminal and are one line each in a log."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        """One line of what is happening."""
        self._console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """One line that a person should not overlook."""
        self._console.print(f"warning: {text}", style="yellow", highlight=False, markup=False)

    def heading(self, text: str) -> None:
        """The name of the next part."""
        self._console.print(f"\n{text}", style="bold", highlight=False, markup=False)

    def plan(self, plan: Plan) -> None:
        """What would be bought, as a table."""
        self.table(("plan", ""), [list(row) for row in plan.describe()])

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Left-aligned first column, right-aligned figures."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def markdown(self, text: str) -> None:
        """A section of a report."""
        self._console.print(Markdown(text))

    @contextmanager
    def bar(self, label: str) -> Iterator[Callable[[int, int, str], None]]:
        """A progress bar; call what it yields with done, total, and a word on the state."""
        with self.bars([label]) as update:
            yield partial(update, label)

    @contextmanager
    def bars(
        self, labels: Sequence[str], *, is_shown: bool = True
    ) -> Iterator[Callable[[str, int, int, str], None]]:
        """Several bars at once; call what it yields with a label first."""
        last: dict[str, tuple[int, int, str]] = {}
        with self._progress(is_shown=is_shown) as progress:
            tasks = {label: progress.add_task(label, total=None, note="") for label in labels}

            def update(label: str, done: int, total: int, note: str) -> None:
                last[label] = (done, total, note)
                progress.update(tasks[label], completed=done, total=total, note=note)

            yield update
        if is_shown and not self._console.is_terminal:
            for label, (done, total, note) in last.items():
                self.say(f"{label}: {done:,} of {total:,} {note}")

    @contextmanager
    def buying(self) -> Iterator[Listener]:
        """The purchase's bar: bought, cached, spent and time left."""
        with self.bar("buying") as update:

            def listen(now: Purchased) -> None:
                got = now.bought + now.recovered
                note = (
                    f"{got:,} bought, {now.cached:,} cached, {now.units:,} queries "
                    f"({dollars(now.cost_micro_usd)}), {now.in_flight} in flight"
                )
                update(got + now.refused, now.planned, note)

            yield listen

    def _progress(self, *, is_shown: bool) -> Progress:
        return Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not (is_shown and self._console.is_terminal),
        )


def quiet() -> Terminal:
    """A terminal that nobody reads."""
    return Terminal(Console(file=StringIO()))
