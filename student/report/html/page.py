"""Puts the report of a run together as one HTML file."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cache.records.money import dollars
from student.data.image_set import ImageSet
from student.evaluation.results import Experiment, Purchase
from student.options import Options
from student.report.break_even import Economics
from student.report.calibration import CAVEAT, calibration_rows
from student.report.html.embedding_map import draw_map
from student.report.html.figures import accuracies, confusion, curves
from student.report.html.mistakes import Mistake, mistakes
from student.report.markdown import score_rows
from student.report.retrieval import COLUMNS, EXPLANATION, retrieval_rows
from student.report.unknown_classes import EXPLANATION as UNKNOWN
from student.report.unknown_classes import unknown_rows

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
_ACCURACY = "Accuracy in percent, ± half of the 95% interval over the images"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """What the page shows of one choice of held-out domains.

    `tables` are those of the accuracies or the retrieval, each with a caption. What needs classes
    is None or empty without them.
    """

    title: str
    tables: Sequence[tuple[str, Table]]
    curves_figure: str
    accuracy_figure: str = ""
    calibration: Table | None = None
    calibration_picture: str = ""
    confusion_figure: str = ""
    confusion_note: str = ""
    map_figure: str = ""
    map_note: str = ""
    mistakes: list[Mistake] = field(default_factory=list)


def html_report(
    options: Options,
    scanned: ImageSet,
    experiments: Sequence[Experiment],
    purchase: Purchase,
    economics: Economics,
    diagrams: Sequence[Path],
    not_tracked: Sequence[str] = (),
) -> str:
    """The page: cost, curves, accuracy, calibration, confusions and mistakes; nothing is fetched.

    `diagrams` are the reliability diagrams of the experiments with classes, in their order, and
    `not_tracked` sentences about trackers that failed. Every name is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    left = iter(diagrams)
    return environment.get_template("report.html.j2").render(
        student=options.training.backbone,
        size=options.data.image_size,
        seed=options.run.seed,
        not_tracked=not_tracked,
        method=", ".join(dict.fromkeys(one.student.method for one in experiments)),
        teacher=purchase.model,
        fingerprint=purchase.fingerprint,
        queries=f"{purchase.units:,}",
        bought_now=f"{purchase.bought_now:,}",
        cost=dollars(purchase.cost_micro_usd),
        economics=economics.rows(),
        caveat=CAVEAT,
        audit=f"cache-report --cache {shlex.quote(str(options.purchase.cache))} audit",
        sections=[
            _section(experiment, scanned, left, seed=options.run.seed) for experiment in experiments
        ],
    )


def _section(
    experiment: Experiment, scanned: ImageSet, diagrams: Iterator[Path], *, seed: int
) -> _Section:
    title = ", ".join(experiment.targets) or "nothing"
    drawn = _uri(curves(experiment.results).encode(), "svg+xml")
    mapped, map_note = _map(experiment)
    if not experiment.is_labelled:
        found: Table = (COLUMNS, retrieval_rows(experiment))
        return _Section(
            title=title,
            tables=[(EXPLANATION, found)],
            curves_figure=drawn,
            map_figure=mapped,
            map_note=map_note,
        )
    tables: list[tuple[str, Table]] = [(_ACCURACY, score_rows(experiment))]
    columns, rows = unknown_rows(experiment)
    if rows:
        tables.append((UNKNOWN, (columns, rows)))
    figure, note = _confusion(experiment, scanned)
    return _Section(
        title=title,
        tables=tables,
        curves_figure=drawn,
        accuracy_figure=_uri(accuracies(experiment).encode(), "svg+xml"),
        calibration=calibration_rows(experiment),
        calibration_picture=_uri(next(diagrams).read_bytes(), "png"),
        confusion_figure=figure,
        confusion_note=note,
        map_figure=mapped,
        map_note=map_note,
        mistakes=mistakes(experiment, scanned, seed=seed),
    )


def _map(experiment: Experiment) -> tuple[str, str]:
    if experiment.map is None:
        return "", ""
    figure, note = draw_map(experiment.map)
    return _uri(figure.encode(), "svg+xml"), note


def _confusion(experiment: Experiment, scanned: ImageSet) -> tuple[str, str]:
    """Over all held-out images; without any, over the source validation images."""
    split = next(one for one in scanned.splits if one.targets == experiment.targets)
    parts = list(split.tests) or [next(iter(experiment.student.answers))]
    items = [item for part in parts for item in split.tests.get(part, split.validation)]
    truth = np.array([scanned.label(item) for item in items], dtype=np.int64)
    answers = np.concatenate([experiment.student.answers[part] for part in parts])
    if not len(truth):
        return "", ""
    classes = scanned.catalogue.classes
    figure, shown = confusion(truth, answers, classes)
    left = f" The {shown} classes with the most mistakes of {len(classes):,}."
    note = f"{len(truth):,} images: {', '.join(parts)}.{left if shown < len(classes) else ''}"
    return _uri(figure.encode(), "svg+xml"), note


def _uri(content: bytes, kind: str) -> str:
    """The picture as a data-URI."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
