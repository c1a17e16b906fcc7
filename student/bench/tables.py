"""Markdown tables of series; a series without rows is marked as not yet run."""

from __future__ import annotations

from collections.abc import Sequence

from student.bench.series import Column, Series
from student.bench.statistics import Mean
from student.report.markdown import plain, table

NOT_YET = "not yet run"


def accuracy_table(lines: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    """Returns a table of accuracies: one row for each series.

    Accuracies are in percent, ± half of the 95% interval over seeds.
    """
    titles = ["", "queries", *(plain(column.title) for column in columns), "runs"]
    return table(
        titles,
        [
            [
                line.title,
                _queries(line),
                *(cell(line.mean(column)) for column in columns),
                count_of_runs(len(line.rows), line.planned),
            ]
            for line in lines
        ],
    )


def difference_table(
    lines: Sequence[Series], against: Sequence[Series], columns: Sequence[Column]
) -> list[str]:
    """Returns a table of the differences to each series of `against`.

    Differences are in percentage points, paired by held-out domains and seed.
    """
    titles = ["points", *(plain(column.title) for column in columns), "runs"]
    return table(
        titles,
        [
            [
                f"{line.title} above {other.title}",
                *(cell(line.above(other, column), signed=True) for column in columns),
                count_of_runs(
                    len(line.rows.keys() & other.rows.keys()), min(line.planned, other.planned)
                ),
            ]
            for other in against
            for line in lines
            if line is not other
        ],
    )


def held_out_table(
    lines: Sequence[Series], held_out: Sequence[str], column: Column, *, gain: tuple[Series, Series]
) -> list[str]:
    """Returns a table with one row for each held-out domain.

    It has a column for each series, in percent, and a last column for the difference of the two
    series of `gain` (first minus second), in percentage points.
    """
    ours, other = gain
    return table(
        ["held out", *(line.title for line in lines), f"{ours.title} above {other.title}"],
        [
            [
                plain(name),
                *(cell(line.of_targets(name).mean(column)) for line in lines),
                cell(ours.of_targets(name).above(other.of_targets(name), column), signed=True),
            ]
            for name in held_out
        ],
    )


def cell(mean: Mean | None, *, signed: bool = False) -> str:
    """Returns a mean in percent, or in percentage points if signed; "" for none."""
    return "" if mean is None else mean.percent(signed=signed)


def _queries(line: Series) -> str:
    return "" if line.queries is None else f"{line.queries:,.0f}"


def count_of_runs(made: int, planned: int) -> str:
    """Returns how many runs there are, and of how many if some are missing."""
    if not made:
        return NOT_YET
    return f"{made}" if made == planned else f"{made} of {planned}"
