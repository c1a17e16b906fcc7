"""Charts of series: accuracy against queries, and bars of differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from student.bench.series import Column, Series
from student.bench.statistics import Mean
from student.report.pictures.lettering import Lettering, lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, safe for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C00")
MARKS = "osD^vPX*"
LEVELS = ("#57606a", "#8250df", "#9a6700")
GREY = "#6e7781"
_NO_CHANCE: Mapping[str, float] = MappingProxyType({})
_LINE: dict[str, Any] = {"markersize": 5, "linewidth": 1.4, "capsize": 2, "elinewidth": 0.8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Series of one kind at increasing numbers of queries, joined by a line."""

    label: str
    points: Sequence[Series]


def against_queries(
    path: Path,
    curves: Sequence[Curve],
    columns: Sequence[Column],
    *,
    levels: Mapping[str, Series],
    title: str,
) -> bool:
    """Draws accuracy in percent against queries, with 95% intervals; one panel for each column.

    `levels` are drawn as horizontal lines. The interval of the first curve is shaded, so that the
    other curves can be compared with it. Returns False, and writes no file, if there is no data.
    """
    if not any(point.rows for curve in curves for point in curve.points):
        return False
    figure, panels = _panels(len(columns), title)
    letters = lettering(column.title for column in columns)
    counts = ticks(point.queries or 0.0 for curve in curves for point in curve.points if point.rows)
    for axis, column in zip(panels, columns, strict=True):
        for number, (label, level) in enumerate(levels.items()):
            if (mean := level.mean(column)) is not None:
                _level(axis, label, mean, number)
        for number, curve in enumerate(curves):
            # Shifted sideways, so that no interval hides another.
            _draw(axis, curve, column, number, x_factor=1.025 ** (number - (len(curves) - 1) / 2))
        axis.set_xscale("symlog", linthresh=20)
        axis.set_xticks(counts, [_short(count) for count in counts], fontsize=8)
        axis.minorticks_off()
        _title(axis, column.title, letters)
        axis.set_xlabel("queries bought for one student")
        axis.grid(visible=True, axis="y", color="#d8dee4", linewidth=0.6)
    panels[0].set_ylabel("accuracy, %")
    _legend(figure, panels[0])
    _save(figure, path)
    return True


def bars(
    path: Path,
    lines: Sequence[Series],
    other: Series,
    columns: Sequence[Column],
    *,
    title: str,
    chance: Mapping[str, float] = _NO_CHANCE,
) -> bool:
    """Draws percentage points above `other` with 95% intervals; one panel for each column.

    The bars are sorted by the first column, best at the top. `chance` maps a column's title to a
    share (0 to 1) that is shaded on both sides of zero. Returns False, and writes no file, if there
    is no data.
    """
    drawn = [line for line in lines if line.rows and line.above(other, columns[0]) is not None]
    if not drawn:
        return False
    letters = lettering(column.title for column in columns)
    figure, panels = _panels(len(columns), title, height=1.4 + 0.28 * len(drawn))
    first = {line.title: line.above(other, columns[0]) for line in drawn}
    drawn.sort(key=lambda line: mean.value if (mean := first[line.title]) else 0.0)
    for axis, column in zip(panels, columns, strict=True):
        for position, line in enumerate(drawn):
            mean = line.above(other, column)
            if mean is None:
                continue
            axis.barh(
                position,
                100 * mean.value,
                xerr=None if mean.half_width is None else 100 * mean.half_width,
                color=COLOURS[0] if mean.value >= 0 else COLOURS[1],
                error_kw={"ecolor": GREY, "elinewidth": 1.2, "capsize": 2},
                height=0.7,
            )
        axis.axvline(0, color="black", linewidth=0.8)
        if half_width := 100 * chance.get(column.title, 0.0):
            axis.axvspan(-half_width, half_width, color=GREY, alpha=0.2, linewidth=0, zorder=0)
        axis.set_yticks(range(len(drawn)), [line.title for line in drawn], fontsize=8)
        _title(axis, column.title, letters)
        axis.set_xlabel(f"points above {other.title}")
        axis.locator_params(axis="x", nbins=7)
        axis.grid(visible=True, axis="x", color="#d8dee4", linewidth=0.6)
        axis.set_axisbelow(True)
    for axis in panels[1:]:
        axis.set_yticklabels([])
    _save(figure, path)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A named point with an interval on both axes; both values are shares."""

    name: str
    x: Mean
    y: Mean


def against(
    path: Path,
    panels: Mapping[str, Mapping[str, Sequence[Spot]]],
    *,
    across: str,
    up: str,
    title: str,
) -> bool:
    """Draws one figure against another in each panel: a line through the spots of each label.

    Values are drawn in percent. Returns False, and writes no file, if there is no data.
    """
    if not any(spots for lines in panels.values() for spots in lines.values()):
        return False
    figure, axes = _panels(len(panels), title)
    letters = lettering(panels)
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        for number, (label, spots) in enumerate(lines.items()):
            ordered = sorted(spots, key=lambda spot: spot.x.value)
            axis.errorbar(
                [100 * spot.x.value for spot in ordered],
                [100 * spot.y.value for spot in ordered],
                xerr=[100 * (spot.x.half_width or 0.0) for spot in ordered],
                yerr=[100 * (spot.y.half_width or 0.0) for spot in ordered],
                color=COLOURS[number % len(COLOURS)],
                marker=MARKS[number % len(MARKS)],
                label=label,
                **_LINE,
            )
            for spot in ordered if number == 0 else ():
                last = spot is ordered[-1]  # its label goes to its left, where the panel has room
                axis.annotate(
                    spot.name,
                    (100 * spot.x.value, 100 * spot.y.value),
                    (-5 if last else 5, 5 if last else -10),
                    ha="right" if last else "left",
                    textcoords="offset points",
                    fontsize=7,
                )
        axis.axhline(0, color="black", linewidth=0.8)
        _title(axis, name, letters)
        axis.set_xlabel(across)
        axis.grid(visible=True, color="#d8dee4", linewidth=0.6)
    axes[0].set_ylabel(up)
    _legend(figure, axes[0])
    _save(figure, path)
    return True


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)


def ticks(counts: Iterable[float]) -> list[float]:
    """Returns the counts of queries, ascending, whose labels do not overlap on a log axis.

    The smallest count is always kept; a later count must exceed the previous kept count by more
    than a third.
    """
    kept: list[float] = []
    for count in sorted(set(counts)):
        if not kept or count > 4 / 3 * kept[-1]:
            kept.append(count)
    return kept


def _short(count: float) -> str:
    return f"{count:.0f}" if count < 1000 else f"{count / 1000:.1f}k"


def _draw(axis: Axes, curve: Curve, column: Column, number: int, *, x_factor: float) -> None:
    found = [
        (point.queries, mean)
        for point in curve.points
        if (mean := point.mean(column)) is not None and point.queries is not None
    ]
    found.sort(key=lambda pair: pair[0])
    across = [queries * x_factor for queries, _ in found]
    colour = COLOURS[number % len(COLOURS)]
    heights = np.array([100 * mean.value for _, mean in found])
    half_widths = np.array([100 * (mean.half_width or 0.0) for _, mean in found])
    if len(found) > 1 and number == 0:  # the reference for the other curves
        axis.fill_between(
            across,
            heights - half_widths,
            heights + half_widths,
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
    axis.errorbar(
        across,
        heights,
        yerr=half_widths,
        color=colour,
        ecolor=(colour, 0.35 if len(found) > 1 else 1.0),
        marker=MARKS[number % len(MARKS)],
        label=curve.label,
        **_LINE,
    )


def _level(axis: Axes, label: str, mean: Mean, number: int) -> None:
    colour = LEVELS[number % len(LEVELS)]
    dash = ("--", ":", "-.")[number % 3]
    axis.axhline(100 * mean.value, color=colour, linestyle=dash, linewidth=1.4, label=label)
    if mean.half_width is not None:
        low, high = 100 * (mean.value - mean.half_width), 100 * (mean.value + mean.half_width)
        axis.axhspan(low, high, color=colour, alpha=0.08, linewidth=0)


def _panels(count: int, title: str, *, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 4.4 * count), height), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _title(axis: Axes, name: str, letters: Lettering) -> None:
    axis.set_title(
        letters.drawn(name),
        loc="left",
        fontsize=10,
        fontweight="bold",
        fontfamily=letters.families,
        parse_math=False,
    )


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and version in the file, the same rows give the same bytes.
    figure.savefig(path, metadata={"Software": None})
