"""The calibration of a run's students: a table, what limits it, and a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from student.evaluation.results import Experiment
from student.report.pictures.lettering import lettering
from student.training.calibration import BINS, ConfidenceBin, calibration_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 5  # panels in a row
TITLE_WIDTH = 28  # letters in a line
BEFORE, AFTER = "#8c959f", "#0072B2"

EXPLANATION = (
    f"Expected calibration error before / after temperature scaling, in percent: the confidence "
    f"in the predicted class is put into {BINS} bins of equal width, and the distance between "
    "accuracy and mean confidence of a bin is averaged over the images. The temperature divides "
    "the logits and changes no prediction. The figure after it is optimistic on source validation, "
    "where it is fitted."
)

CAVEAT = (
    "The temperatures are fitted on source validation: on a held-out domain, and on images of "
    "other kinds, the student may still be over-confident."
)


def calibration_rows(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of a table: a column per method, a row per part.

    Calibration errors are in percent, before / after temperature scaling. The last row has the
    temperatures.
    """
    results = experiment.results
    columns = ["calibration error, %", *(result.method for result in results), "images"]
    rows = [
        [
            part,
            *(
                f"{_percent(result.calibration.before[part])} / "
                f"{_percent(result.calibration.after[part])}"
                for result in results
            ),
            f"{count.images:,}",
        ]
        for part, count in experiment.student.scores.items()
    ]
    fitted = (result.calibration.fit.temperature for result in results)
    return columns, [*rows, ["temperature", *map(_temperature, fitted), ""]]


def calibration_notes(experiment: Experiment) -> list[str]:
    """Returns what limits the temperature of a method, one line each."""
    return [
        f"temperature of {result.method}: {note}"
        for result in experiment.results
        if (note := result.calibration.fit.note)
    ]


def draw_reliability(path: Path, experiment: Experiment) -> None:
    """Draws accuracy against confidence for the student, a panel for each part.

    The area of a mark is the share of images in its bin. Points below the diagonal are
    over-confident.
    """
    from matplotlib.figure import Figure

    result = experiment.student
    parts = list(result.scores)
    letters = lettering(parts)
    across = min(ACROSS, len(parts))
    down = -(-len(parts) // across)
    figure = Figure(figsize=(2.6 * across, 3.1 * down + 0.3), dpi=110, layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[len(parts) :]:
        axis.axis("off")
    for axis, part in zip(axes, parts, strict=False):
        axis.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle=":")
        _line(axis, result.calibration.before[part], "at temperature 1", BEFORE)
        _line(axis, result.calibration.after[part], "at the fitted temperature", AFTER)
        axis.set_title(
            "\n".join(wrap(letters.drawn(part), TITLE_WIDTH)),
            loc="left",
            fontsize=9,
            fontweight="bold",
            fontfamily=letters.families,
            parse_math=False,  # a folder name may contain dollar signs
        )
        axis.set_xlim(0, 102)
        axis.set_ylim(0, 102)
        axis.set_aspect("equal")
        axis.set_xlabel("confidence, %", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("accuracy, %", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path)


def _line(axis: Axes, bins: Sequence[ConfidenceBin], label: str, colour: str) -> None:
    images = sum(one.images for one in bins)
    across, up = [100 * one.confidence for one in bins], [100 * one.accuracy for one in bins]
    axis.plot(across, up, color=colour, linewidth=1.0, alpha=0.4)
    areas = [4 + 160 * one.images / images for one in bins]
    axis.scatter(across, up, s=areas, color=colour, label=label)


def _temperature(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _percent(bins: tuple[ConfidenceBin, ...]) -> str:
    error = calibration_error(bins)
    return "none" if error is None else f"{100 * error:.1f}"
