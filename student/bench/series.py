"""Series: runs that differ only in seed and held-out domains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from student.bench.rows import Row
from student.bench.run import Run, identity
from student.bench.statistics import Mean, Place, difference, over_seeds
from student.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A figure computed from a row, between 0 and 1; None if the row lacks the part."""

    title: str
    of: Callable[[Row], float | None]


def parts(title: str, choose: Callable[[Row], Sequence[str]]) -> Column:
    """Returns a column: the mean accuracy on the chosen parts, each with equal weight."""

    def of(row: Row) -> float | None:
        found = [row.accuracies[part].accuracy for part in choose(row) if part in row.accuracies]
        return sum(found) / len(found) if found else None

    return Column(title=title, of=of)


def part(name: str, title: str = "") -> Column:
    """Returns a column: the accuracy on one part."""
    return parts(title or name, lambda _: [name])


VALIDATION = Column(title="source validation", of=lambda row: row.validation.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The rows of runs under one title; `planned` is how many runs there should be."""

    title: str
    planned: int
    rows: Mapping[Place, Row]

    def values(self, column: Column) -> dict[Place, float]:
        """Returns the column's figure for each row that has it."""
        found = {at: column.of(row) for at, row in self.rows.items()}
        return {at: value for at, value in found.items() if value is not None}

    def mean(self, column: Column) -> Mean | None:
        """Returns the mean over seeds; None if no row has the figure."""
        return over_seeds(self.values(column))

    def above(self, other: Series, column: Column) -> Mean | None:
        """Returns the paired difference to another series; None if they share no run."""
        return difference(self.values(column), other.values(column))

    def of_targets(self, *names: str) -> Series:
        """Returns the runs of the series in which all these domains are held out."""
        held_out = {at: row for at, row in self.rows.items() if set(names) <= set(at[0])}
        return replace(self, planned=len(held_out), rows=held_out)

    @property
    def queries(self) -> float | None:
        """The mean number of queries of a run."""
        counts = [row.queries for row in self.rows.values()]
        return sum(counts) / len(counts) if counts else None


def series(title: str, runs: Sequence[Run], base: Options, rows: Mapping[str, Row]) -> Series:
    """Returns the series of these runs, which must differ in held-out domains or seed."""
    found: dict[Place, Row] = {}
    for run in runs:
        if (row := rows.get(identity(run, base))) is not None:
            found[run.targets, run.seed] = row
    return Series(title=title, planned=len({identity(run, base) for run in runs}), rows=found)
