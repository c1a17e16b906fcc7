"""Draws held-out images with the predictions of the student and of ERM."""

from __future__ import annotations

import random
from pathlib import Path

from student.data.folder.image_folder import Item
from student.data.image_set import ImageSet
from student.data.views import open_rgb
from student.evaluation.results import Experiment
from student.report.pictures.lettering import lettering

ACROSS = 10
RIGHT, WRONG = "#1a7f37", "#cf222e"


def draw_answers(path: Path, experiment: Experiment, scanned: ImageSet, *, seed: int) -> str | None:
    """Draws a row of images for each held-out domain: a seeded random sample, not a selection.

    Returns what a reader needs to know of names that cannot be drawn, "" for nothing. Returns None,
    and writes no file, if no held-out domain was measured.
    """
    from matplotlib.figure import Figure

    domains = [domain for domain in experiment.targets if domain in experiment.student.scores]
    if not domains:
        return None
    letters = lettering((*domains, *scanned.catalogue.classes))
    figure = Figure(figsize=(1.25 * ACROSS, 1.9 * len(domains)), dpi=110, layout="constrained")
    axes = figure.subplots(len(domains), ACROSS, squeeze=False)
    split = next(s for s in scanned.splits if s.targets == experiment.targets)
    shown = [r for r in experiment.results if r.method in {experiment.student.method, "erm"}]
    for row, domain in enumerate(domains):
        items = split.tests[domain]
        drawn = random.Random(f"{seed} {domain}").sample(range(len(items)), min(ACROSS, len(items)))
        for column in range(ACROSS):
            axis = axes[row, column]
            axis.axis("off")
            if column >= len(drawn):
                continue
            item = items[drawn[column]]
            axis.imshow(open_rgb(item.path, item.read_bytes()))
            if column == 0:
                axis.set_title(
                    letters.drawn(domain),
                    loc="left",
                    fontsize=10,
                    fontweight="bold",
                    fontfamily=letters.families,
                    y=1.0,
                    parse_math=False,  # a folder name may contain dollar signs
                )
            for line, result in enumerate(shown):
                predicted = scanned.catalogue.classes[int(result.answers[domain][drawn[column]])]
                axis.text(
                    0.5,
                    -0.04 - 0.15 * line,
                    f"{_short(result.method)}: {letters.drawn(predicted)}",
                    transform=axis.transAxes,
                    ha="center",
                    va="top",
                    fontsize=7,
                    fontfamily=letters.families,
                    parse_math=False,
                    color=RIGHT if _is_right(item, predicted) else WRONG,
                )
    figure.savefig(path)
    return letters.legend()


def _is_right(item: Item, predicted: str) -> bool:
    return item.class_name == predicted


def _short(method: str) -> str:
    return "ERM" if method == "erm" else "student"
