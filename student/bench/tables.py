"""Markdown tables of series; a missing figure is marked as not yet run."""

from __future__ import annotations

from collections.abc import Sequence

from student.bench.series import Column, Series
from student.bench.statistics import Mean
from student.report.markdown import table

NOT_YET = "not yet run"


def accuracy_table(lines: Sequence[Series], columns: Sequence[Column]) -> list[str]:
    """Accuracy in percent ± half of its 95% interval over seeds, one row for each series."""
    titles = ["", "queries", *(column.title for column in columns), "runs"]
    return table(
        titles,
        [
            [
                one.title,
                _queries(one),
                *(_cell(one.mean(column)) for column in columns),
                _runs(len(one.rows), one.planned),
            ]
            for one in lines
        ],
    )


def difference_table(
    lines: Sequence[Series], against: Sequence[Series], columns: Sequence[Column]
) -> list[str]:
    """Points above each of `against`, paired by targets and seed."""
    titles = ["points", *(f"{column.title}" for column in columns), "runs"]
    return table(
        titles,
        [
            [
                f"{one.title} above {other.title}",
                *(_cell(one.above(other, column), signed=True) for column in columns),
                _runs(len(one.rows.keys() & other.rows.keys()), min(one.planned, other.planned)),
            ]
            for other in against
            for one in lines
            if one is not other
        ],
    )


def held_out_table(
    lines: Sequence[Series], held_out: Sequence[str], column: Column, *, gain: tuple[Series, Series]
) -> list[str]:
    """One row for each held-out domain: every series, and the first of `gain` above the second."""
    ours, other = gain
    return table(
        ["held out", *(one.title for one in lines), f"{ours.title} above {other.title}"],
        [
            [
                name,
                *(_cell(one.of_targets(name).mean(column)) for one in lines),
                _cell(ours.of_targets(name).above(other.of_targets(name), column), signed=True),
            ]
            for name in held_out
        ],
    )


def _cell(mean: Mean | None, *, signed: bool = False) -> str:
    return "" if mean is None else mean.percent(signed=signed)


def _queries(one: Series) -> str:
    return "" if one.queries is None else f"{one.queries:,.0f}"


def _runs(made: int, planned: int) -> str:
    if not made:
        return NOT_YET
    return f"{made}" if made == planned else f"{made} of {planned}"
