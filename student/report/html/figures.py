"""The figures of the HTML report, as SVG: curves, accuracy with intervals, and confusions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from student.evaluation.results import Experiment, MethodResult
from student.report.pictures.lettering import lettering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MOST_CLASSES = 30
"""More classes than this are not legible in a matrix: those with the most mistakes are drawn."""


def curves(results: Sequence[MethodResult]) -> str:
    """Training loss and source-validation accuracy over the steps, the stages one after another."""
    figure = new_figure(9.0, 3.2)
    loss, accuracy = figure.subplots(1, 2)
    for colour, result in zip(COLOURS, results, strict=False):
        steps, rows = _on_one_axis(result.trained.history)
        loss.plot(steps, [row["loss"] for row in rows], color=colour, label=result.method)
        accuracy.plot(
            steps, [100 * float(row["validation_accuracy"]) for row in rows], color=colour
        )
    for axis, title in ((loss, "training loss"), (accuracy, "source validation accuracy, %")):
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_xlabel("step, all stages", fontsize=8)
        axis.tick_params(labelsize=8)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return svg(figure)


def accuracies(experiment: Experiment) -> str:
    """The accuracy of every method on every part, with its 95% interval."""
    parts, results = list(experiment.student.scores), experiment.results
    letters = lettering(parts)
    figure = new_figure(9.0, 0.7 + 0.2 * len(parts) * (len(results) + 1))
    axis = figure.subplots()
    for number, (colour, result) in enumerate(zip(COLOURS, results, strict=False)):
        at = [-(len(results) + 1) * row - number for row in range(len(parts))]
        found = [100 * result.scores[part].accuracy for part in parts]
        bounds = [result.scores[part].interval for part in parts]
        reach = [
            [value - 100 * bound.low for value, bound in zip(found, bounds, strict=True)],
            [100 * bound.high - value for value, bound in zip(found, bounds, strict=True)],
        ]
        axis.errorbar(found, at, xerr=reach, fmt="o", color=colour, label=result.method, ms=4)
    middle = [-(len(results) + 1) * row - (len(results) - 1) / 2 for row in range(len(parts))]
    axis.set_yticks(
        middle,
        [letters.drawn(part) for part in parts],
        fontsize=8,
        fontfamily=letters.families,
        parse_math=False,
    )
    axis.set_xlabel("accuracy, %, with its 95% interval", fontsize=8)
    axis.set_xlim(-1, 101)
    axis.margins(y=0.15)
    axis.tick_params(labelsize=8)
    axis.grid(axis="x", linewidth=0.4)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return svg(figure)


def confusion(
    truth: NDArray[np.int64], answers: NDArray[np.int64], classes: Sequence[str]
) -> tuple[str, int]:
    """The share of each class's images that were given each class; and how many classes it shows.

    `truth` and `answers` are class numbers (N,).
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (truth, answers), 1)
    mistakes = counts.sum(axis=1) + counts.sum(axis=0) - 2 * counts.diagonal()
    chosen = np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])
    shown = counts[np.ix_(chosen, chosen)]
    shares = shown / np.maximum(1, counts.sum(axis=1)[chosen, None])
    names = [classes[number] for number in chosen]
    letters = lettering(names)
    side = 1.8 + 0.21 * len(chosen)
    figure = new_figure(side + 0.6, side)
    axis = figure.subplots()
    image = axis.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    drawn: dict[str, Any] = {
        "labels": [letters.drawn(name) for name in names],
        "fontsize": 7,
        "fontfamily": letters.families,
        "parse_math": False,
    }
    axis.set_xticks(range(len(chosen)), rotation=90, **drawn)
    axis.set_yticks(range(len(chosen)), **drawn)
    axis.set_xlabel("answer", fontsize=8)
    axis.set_ylabel("truth", fontsize=8)
    figure.colorbar(image, label="% of the class", shrink=0.7)
    return svg(figure), len(chosen)


def _on_one_axis(
    history: Sequence[dict[str, float | int | str]],
) -> tuple[list[int], list[dict[str, float | int | str]]]:
    """The steps of all stages on one axis: a stage begins where the one before it ended."""
    steps: list[int] = []
    before, last, stage = 0, 0, history[0]["stage"] if history else ""
    for row in history:
        if row["stage"] != stage:
            before, stage = before + last, row["stage"]
        last = int(row["step"])
        steps.append(before + last)
    return steps, list(history)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> str:
    """The figure as an SVG file, with letters as outlines: a reader may lack the font."""
    from matplotlib import rc_context

    content = io.StringIO()
    # The same figure gives the same file.
    with rc_context({"svg.hashsalt": "distill-client"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
