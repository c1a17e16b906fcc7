"""The report, in Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from cache.records.money import dollars
from student.evaluation.before_training import teacher_sentence, wrong_answers_sentence
from student.evaluation.results import Experiment, Purchase
from student.options import Options
from student.report.break_even import Economics
from student.report.calibration import CAVEAT, EXPLANATION, calibration_notes, calibration_rows
from student.report.retrieval import COLUMNS, retrieval_rows
from student.report.retrieval import EXPLANATION as RETRIEVAL
from student.report.unknown_classes import EXPLANATION as UNKNOWN
from student.report.unknown_classes import unknown_rows

CAPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "answers.png": "A random draw of held-out images with each answer",
        "calibration.png": "Accuracy against confidence, before and after temperature scaling",
    }
)
"""What the pictures of a run show, by their file names."""

# What would be read as markup; an underscore only at the edge of a word.
_MARKS = re.compile(r"[\\`*<|~]|(?<!\w)_|_(?!\w)")


def score_rows(experiment: Experiment) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of an accuracy table: a column per method, a row per part.

    Accuracies are in percent, ± half of the 95% interval.
    """
    columns = ["accuracy, %", *(result.method for result in experiment.results), "images"]
    rows = [
        [
            part,
            *(str(result.scores[part]) for result in experiment.results),
            f"{experiment.student.scores[part].images:,}",
        ]
        for part in experiment.student.scores
    ]
    return columns, rows


def report(
    options: Options,
    experiments: Sequence[Experiment],
    purchase: Purchase,
    economics: Economics,
    spend: str,
    pictures: Mapping[str, str],
    not_tracked: Sequence[str] = (),
) -> str:
    """Returns the report page: cost, accuracy, calibration, and how to check the spend.

    `pictures` maps the path of each picture to a note on it, which may be empty. `not_tracked` are
    sentences about trackers that failed.
    """
    whose = "student's" if len(experiments) == 1 else "students'"
    report_command = f"cache-report --cache {shlex.quote(str(options.purchase.cache))}"
    lines = ["# Distillation report", ""]
    lines += [
        f"Teacher `{purchase.model}` (`{purchase.fingerprint}`), student "
        f"`{options.training.backbone}` at {options.data.image_size} pixels, seed "
        f"{options.run.seed}. This run bought {purchase.bought_now:,} queries; the {whose} "
        f"embeddings cost {purchase.units:,} queries ({dollars(purchase.cost_micro_usd)}) in all.",
        "",
    ]
    for experiment in experiments:
        lines += _results(experiment)
    if experiments[0].is_labelled:
        lines += [EXPLANATION, "", CAVEAT, ""]
    for picture, note in pictures.items():
        lines += [f"![{CAPTIONS[Path(picture).name]}]({quote(picture)})", ""]
        lines += [plain(note), ""] if note else []
    lines += ["## What the student saves", "", *table(["", ""], economics.rows()), ""]
    if not_tracked:
        lines += ["## Tracking", "", *(f"- {plain(line)}" for line in not_tracked), ""]
    lines += ["## Spend", "", spend, ""]
    lines += [
        f"Check it: `{report_command} verify` and "
        f"`{report_command} audit --vendor {options.purchase.vendor}`.",
        "",
    ]
    return "\n".join(lines)


def _results(experiment: Experiment) -> list[str]:
    """Returns the lines of one experiment's tables."""
    held_out = plain(", ".join(experiment.targets)) or "nothing"
    trained_on = (
        f"Trained on {experiment.num_train:,} images of {plain(', '.join(experiment.sources))}; "
        f"{experiment.num_bought:,} of their views have a bought embedding, which equal images "
        "share; the weights were chosen on source validation alone."
    )
    if not experiment.is_labelled:
        found = plain_table(COLUMNS, retrieval_rows(experiment))
        explained = [RETRIEVAL, "", trained_on, ""]
        return [f"## Retrieval, held out: {held_out}", "", *found, "", *explained]
    lines: list[str] = []
    if (selection := experiment.selection) is not None:
        lines += [f"## How the method was chosen, held out: {held_out}", ""]
        lines += [f"{plain(selection.explanation)}.", ""]
    if experiment.teacher is not None:
        said = teacher_sentence(experiment.teacher)
        lines += [f"{said[0].upper()}{said[1:]}.", ""]
    if experiment.num_wrong:
        lines += [f"{wrong_answers_sentence(experiment.num_wrong)}.", ""]
    if experiment.shown:
        lines += [f"{plain(experiment.shown[0].upper() + experiment.shown[1:])}.", ""]
    lines += [f"## Accuracy, held out: {held_out}", ""]
    lines += [*plain_table(*score_rows(experiment)), ""]
    lines += [f"Percent, ± half the Wilson 95% interval over the images. {trained_on}", ""]
    lines += [*plain_table(*calibration_rows(experiment)), ""]
    columns, rows = unknown_rows(experiment)
    if rows:
        lines += [*plain_table(columns, rows), "", UNKNOWN, ""]
    notes = map(plain, calibration_notes(experiment))
    return [*lines, *(line for note in notes for line in (f"- {note}", ""))]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table; all columns but the first are right-aligned.

    Cells are Markdown.
    """
    marks = ["---", *("---:" for _ in columns[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (columns, marks, *rows)]


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a Markdown table that shows these texts as they are."""
    return table([*map(plain, columns)], [[*map(plain, row)] for row in rows])


def plain(text: str) -> str:
    """Returns Markdown that shows this text as it is, on one line."""
    escaped = _MARKS.sub(r"\\\g<0>", " ".join(text.split("\n")))
    return escaped.replace("](", "\\](")
