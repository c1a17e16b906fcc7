"""Draws the teacher's and the student's embeddings beside each other, as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from student.data.folder.image_folder import Item
from student.evaluation.embedding_map import EmbeddingMap
from student.report.html.figures import COLOURS, new_figure, svg
from student.report.pictures.lettering import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_OTHER = "#BBBBBB"
_MARKERS = "os^DvPX*"


def draw_map(found: EmbeddingMap) -> tuple[str, str]:
    """The figure, and a sentence that says what it shows. Colours are classes, markers domains.

    Classes beyond the most frequent are grey; markers are used again beyond the last.
    """
    items = (*found.bought, *found.validation)
    counts = Counter(item.class_name for item in items if item.class_name)
    named = sorted(counts, key=lambda name: (-counts[name], name))[: len(COLOURS)]
    colour = dict(zip(named, COLOURS, strict=False))
    if not counts:
        colour = {"": COLOURS[0]}
    domains = sorted({item.domain for item in items})
    marker = {name: _MARKERS[n % len(_MARKERS)] for n, name in enumerate(domains)}
    figure = new_figure(9.0, 4.6)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _scatter(left, found.teacher, found.bought, colour, marker, is_filled=True)
    _scatter(right, found.student, found.bought, colour, marker, is_filled=True)
    _scatter(right, found.student_validation, found.validation, colour, marker, is_filled=False)
    for axis, title in ((left, "teacher"), (right, "student")):
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_xlabel("first component of the teacher", fontsize=8)
        axis.tick_params(labelsize=8)
    left.set_ylabel("second component of the teacher", fontsize=8)
    others = len(counts) - len(named)
    letters = lettering((*named, *domains))
    shown = [_key(letters.drawn(name), colour[name], "o") for name in named]
    shown += [_key(f"{others:,} other classes", _OTHER, "o")] if others else []
    shown += [_key(letters.drawn(name), "#000000", marker[name]) for name in domains]
    legend = figure.legend(
        handles=shown,
        loc="outside lower center",
        ncols=5,
        frameon=False,
        prop={"size": 8, "family": list(letters.families)},
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a folder name may contain dollar signs
    note = (
        f"The axes are the first two principal components of the teacher's embeddings of "
        f"{len(found.bought):,} bought images. They show {found.teacher_share:.0%} of the "
        f"variance of the teacher's embeddings of these images, and {found.student_share:.0%} of "
        f"the student's. Hollow: {len(found.validation):,} images of source validation. "
    )
    return svg(figure), note + letters.legend()


def _scatter(
    axis: Axes,
    places: NDArray[np.float64],
    items: Sequence[Item],
    colour: Mapping[str, str],
    marker: Mapping[str, str],
    *,
    is_filled: bool,
) -> None:
    for domain, form in marker.items():
        rows = [row for row, item in enumerate(items) if item.domain == domain]
        colours = [colour.get(items[row].class_name, _OTHER) for row in rows]
        axis.scatter(
            places[rows, 0],
            places[rows, 1],
            s=18,
            marker=form,
            facecolors=colours if is_filled else "none",
            edgecolors=colours,
            linewidths=0.8,
            alpha=0.8,
        )


def _key(label: str, colour: str, marker: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5, label=label)
