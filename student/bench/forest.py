"""A forest plot: differences with their intervals, by group, one line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from student.bench.charts import COLOURS, GREY, MARKS
from student.bench.statistics import Mean

_MARGIN = 6.0  # points beyond the outermost difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The difference (a share between -1 and 1) of the method `label` in a group."""

    group: str
    label: str
    mean: Mean


def forest(path: Path, points: Sequence[Point], *, across: str, title: str) -> bool:
    """Draws the points in percent with 95% intervals: groups from the top, in their first order.

    The intervals of two seeds may be wider than all differences: they are cut at the edges.
    Returns False, and writes no file, if there is no point.
    """
    if not points:
        return False
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(point.group for point in points))
    labels = list(dict.fromkeys(point.label for point in points))
    figure = Figure(figsize=(8.8, 1.6 + 0.42 * len(groups)), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    axis = figure.subplots()
    step = 0.7 / max(1, len(labels) - 1)
    for number, label in enumerate(labels):
        own = [point for point in points if point.label == label]
        axis.errorbar(
            [100 * point.mean.value for point in own],
            [groups.index(point.group) - 0.35 + number * step for point in own],
            xerr=[100 * (point.mean.half_width or 0.0) for point in own],
            color=COLOURS[number % len(COLOURS)],
            marker=MARKS[number % len(MARKS)],
            label=label,
            linestyle="none",
            markersize=6 if number == 0 else 4,
            elinewidth=1.6 if number == 0 else 0.8,
            capsize=2,
        )
    for line in range(1, len(groups)):
        axis.axhline(line - 0.5, color="#d8dee4", linewidth=0.6)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(groups)), groups, fontsize=8)
    axis.set_ylim(len(groups) - 0.5, -0.5)
    values = [100 * point.mean.value for point in points]
    axis.set_xlim(min(values) - _MARGIN, max(values) + _MARGIN)
    axis.set_xlabel(across, color=GREY)
    axis.grid(visible=True, axis="x", color="#d8dee4", linewidth=0.6)
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and version in the file, the same points give the same bytes.
    figure.savefig(path, metadata={"Software": None})
    return True
