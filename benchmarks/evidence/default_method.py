"""The first section of the page: what the default method gives on every data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.evidence.choices import chosen_series, shared_rows, single_methods
from benchmarks.evidence.lines import NAMES, Found
from benchmarks.evidence.protocol import HOUSES, LINE_DRAWINGS, SEEDS
from benchmarks.evidence.user_data import CIFAR, CLIP_SPACE, PACS
from benchmarks.evidence.words import DEFAULT_METHOD
from student.bench.forest import Point, forest
from student.bench.rows import Row
from student.bench.series import Column, Series, parts
from student.bench.statistics import Mean
from student.bench.tables import cell, count_of_runs
from student.report.markdown import table
from tools.cifar.lay_out import SHIFTS
from tools.pacs.lay_out import SEEN

CHART = "evidence-default.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What students are measured on: the mean over some parts, in the runs of these grids.

    `held_out` keeps the runs with these domains held out, or all.
    """

    title: str
    grids: tuple[str, ...]
    parts: Callable[[Row], Sequence[str]]
    held_out: tuple[str, ...] = ()

    def of(self, line: Series) -> Series:
        """The runs of a line that count here."""
        return line.of_targets(*self.held_out) if self.held_out else line

    @property
    def column(self) -> Column:
        """The mean accuracy on the parts."""
        return parts(self.title, self.parts)

    def calibration_error(self) -> Column:
        """The mean of the parts' calibration errors (0 to 1)."""

        def of(row: Row) -> float | None:
            found = row.calibration_errors
            errors = [found[name] for name in self.parts(row) if name in found]
            return sum(errors) / len(errors) if errors else None

        return Column(title="calibration error", of=of)


def _pacs(name: str) -> Shift:
    domain = name.removeprefix("pacs-")
    return Shift(
        title=f"PACS: {domain.replace('_', ' ')}",
        grids=(name,),
        parts=_other_half,
        held_out=(domain, domain + SEEN),
    )


def _other_half(row: Row) -> Sequence[str]:
    """The half of PACS's held-out domain that the teacher never saw."""
    return row.targets[:1]


_EMOJI = ("headline", "joint")
_DIGITS = ("digits", "digits-again")
ALL: tuple[Shift, ...] = (
    Shift(
        title="emoji: house style",
        grids=_EMOJI,
        parts=lambda row: [name for name in row.targets if name in HOUSES],
    ),
    Shift(title="emoji: OpenMoji", grids=_EMOJI, parts=lambda _: ("openmoji",)),
    Shift(title="emoji: line drawings", grids=_EMOJI, parts=lambda _: LINE_DRAWINGS),
    Shift(title="digits: hard looks", grids=_DIGITS, parts=lambda row: row.targets),
    *(_pacs(name) for name in PACS),
    Shift(title="PACS: mean of domains", grids=PACS, parts=_other_half),
    Shift(title="PACS, in a real CLIP's space: mean", grids=tuple(CLIP_SPACE), parts=_other_half),
    Shift(title="CIFAR-10, real CLIP: other images", grids=(CIFAR,), parts=lambda _: ("other",)),
    Shift(title="CIFAR-10, real CLIP: six shifts", grids=(CIFAR,), parts=lambda _: tuple(SHIFTS)),
)
"""In the order of the table and, from the top, of the chart."""


def default_section(found: Found, choices: Sequence[dict[str, Any]], images: Path) -> Iterator[str]:
    """The chart and the table of the default beside ERM and the best other method."""
    yield from ["## What the default gives", "", DEFAULT_METHOD]
    rows, drawn = [], []
    for shift in ALL:
        lines = _lines(found, shift, choices)
        auto, erm = lines["auto"], lines[NAMES["erm"]]
        gain = auto.above(erm, shift.column)
        best = _best(lines, shift.column)
        rows.append(
            [
                shift.title,
                "" if auto.queries is None else f"{auto.queries:,.0f}",
                cell(erm.mean(shift.column)),
                cell(auto.mean(shift.column)),
                cell(gain, signed=True),
                "" if best is None else f"{cell(best[1], signed=True)} ({best[0]})",
                *_calibration(erm, auto, shift.calibration_error()),
                count_of_runs(len(auto.rows), auto.planned),
            ]
        )
        for name, line in lines.items():
            above = None if line is erm else line.above(erm, shift.column)
            if above is not None:
                drawn.append(Point(group=shift.title, label=name, mean=above))
    if forest(
        images / CHART,
        drawn,
        across=f"points above {NAMES['erm']}",
        title="The default and other methods above training on labels alone",
    ):
        yield from [f"![Points above ERM on every data set](images/{CHART})", ""]
    titles = [
        "held out",
        "queries",
        "ERM",
        "auto",
        "auto above ERM",
        "auto above the best single method",
        "calibration error, ERM",
        "calibration error, auto",
        "runs",
    ]
    yield from [*table(titles, rows), ""]


def _calibration(erm: Series, auto: Series, error: Column) -> tuple[str, str]:
    """The calibration errors of both, on the runs that have both; without ERM's where these leave a
    split of `auto` out."""
    both = erm.values(error).keys() & auto.values(error).keys()
    if {targets for targets, _ in both} != {targets for targets, _ in auto.rows}:
        return "", cell(auto.mean(error))
    shared = (
        replace(line, rows={at: row for at, row in line.rows.items() if at in both})
        for line in (erm, auto)
    )
    mean_of_erm, mean_of_auto = (cell(line.mean(error)) for line in shared)
    return mean_of_erm, mean_of_auto


def _lines(found: Found, shift: Shift, choices: Sequence[dict[str, Any]]) -> Mapping[str, Series]:
    """What `auto` gives, and each single method on the same splits and seeds."""
    auto = shift.of(chosen_series(found, shift.grids, choices))
    lines = {"auto": auto}
    for line in single_methods(found, shift.grids):
        lines[line.title] = shared_rows(shift.of(line), auto)
    return lines


def _best(lines: Mapping[str, Series], column: Column) -> tuple[str, Mean] | None:
    """The single method that `auto` is least above, and how far, on their common runs.

    Of the methods with a row wherever `auto` has one on the seeds that every method is planned for.
    """
    auto = lines["auto"]
    of_all = {at for at in auto.rows if at[1] in SEEDS}
    whole = [
        (name, above)
        for name, line in lines.items()
        if line is not auto
        and of_all <= line.rows.keys()
        and (above := auto.above(line, column)) is not None
    ]
    return min(whole, key=lambda pair: pair[1].value, default=None)
