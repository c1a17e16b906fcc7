"""A line of a table or a chart: the runs that differ in seed and targets alone, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from student.bench.rows import Row
from student.bench.run import Run, identity
from student.bench.statistics import Mean, Place, difference, over_seeds
from student.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A figure of a row, a share between 0 and 1; None where the row has no such part."""

    title: str
    of: Callable[[Row], float | None]


def parts(title: str, choose: Callable[[Row], Sequence[str]]) -> Column:
    """The mean accuracy on the parts that are chosen of a row, each part counting alike."""

    def of(row: Row) -> float | None:
        found = [row.accuracies[part].accuracy for part in choose(row) if part in row.accuracies]
        return sum(found) / len(found) if found else None

    return Column(title=title, of=of)


def part(name: str, title: str = "") -> Column:
    """The accuracy on one part."""
    return parts(title or name, lambda _: [name])


VALIDATION = Column(title="source validation", of=lambda row: row.validation.accuracy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Runs under one title, and the rows that there are of them."""

    title: str
    planned: int
    rows: Mapping[Place, Row]

    def values(self, column: Column) -> dict[Place, float]:
        """The column's figure wherever there is one."""
        found = {at: column.of(row) for at, row in self.rows.items()}
        return {at: value for at, value in found.items() if value is not None}

    def mean(self, column: Column) -> Mean | None:
        """Over the seeds; None where no row has the figure."""
        return over_seeds(self.values(column))

    def above(self, other: Series, column: Column) -> Mean | None:
        """The paired difference to another series."""
        return difference(self.values(column), other.values(column))

    def of_targets(self, *names: str) -> Series:
        """The part of it in which all these styles are held out."""
        held_out = {at: row for at, row in self.rows.items() if set(names) <= set(at[0])}
        return replace(self, planned=len(held_out), rows=held_out)

    @property
    def queries(self) -> float | None:
        """The queries of a run, on average."""
        counts = [row.queries for row in self.rows.values()]
        return sum(counts) / len(counts) if counts else None


def series(title: str, runs: Sequence[Run], base: Options, rows: Mapping[str, Row]) -> Series:
    """The series of these runs, of which no two are at one place."""
    found: dict[Place, Row] = {}
    for run in runs:
        if (row := rows.get(identity(run, base))) is not None:
            found[run.targets, run.seed] = row
    return Series(title=title, planned=len({identity(run, base) for run in runs}), rows=found)
