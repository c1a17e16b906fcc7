"""Markdown page with the published tables next to the results of your own runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.paper.cost import published_queries
from benchmarks.paper.datasets import DATASETS, HERE
from benchmarks.paper.recipe import STUDENTS
from benchmarks.paper.reports import Report, average_accuracy, dataset_accuracy, target_accuracy
from student.errors import BadInput
from student.report.markdown import table

Group = tuple[str, int]
"""A student's name, and the number of stored views bought for each image."""

# The data sets in the order of the page, with their column titles.
_COLUMNS = {
    "OfficeHome": "Office-Home",
    "TerraIncognita": "TerraInc",
    "VLCS": "VLCS",
    "PACS": "PACS",
    "DomainNet": "DomainNet",
}
ONE_QUERY = "vl2v-adip-1q"
_TITLES = {"vit": "ViT-B/16 student", "resnet50": "ResNet-50 student"}

_HEAD = """\
# The published tables and your runs

<!-- Written by `python -m benchmarks.paper --tables`; edit benchmarks/paper/*.toml or run more. -->

Accuracy in percent on the held-out domain, averaged over the target domains of a data set.

| Column | Meaning |
| --- | --- |
| *paper* | published on the project page of arXiv 2310.08255, without an interval |
| *here* | your runs: mean over seeds ± half of Student's 95% interval; empty until there is a run |
| *average*, *source validation* | mean over the five data sets; "Avg-ID" in the paper |

A figure of your own is shown once all targets of the data set have been run. Before you compare,
read "What differs from the published code" in benchmarks/paper/README.md.
"""
_COST = """\
## What it costs

In queries. The published code sends the teacher a new view of every image in every step of both
stages; its columns are for one student and one seed. Here, K views of each training image and one
prompt for each class are bought once, for all targets, seeds, methods and students; these columns
are upper bounds. The command counts the images in your own folder before it buys.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A row of the paper's table. `method` is its name in this project, if it has one."""

    name: str
    method: str | None
    figures: dict[str, float]

    def figure(self, column: str) -> str:
        """The published figure in percent; an empty string if there is none."""
        value = self.figures.get(column)
        return "" if value is None else f"{value:.2f}"


def published(part: str) -> list[Published]:
    """Returns the rows of one table of published.toml."""
    rows: dict[str, dict[str, Any]] = tomllib.loads((HERE / "published.toml").read_text())[part]
    return [
        Published(
            name=name,
            method=facts.get("method"),
            figures={key: value for key, value in facts.items() if key != "method"},
        )
        for name, facts in rows.items()
    ]


def render(reports: Sequence[Report]) -> str:
    """Returns the page. Raises BadInput if one table would mix students of two teachers."""
    lines = [_HEAD]
    known: list[Group] = [(name, 1) for name in STUDENTS]
    for group in dict.fromkeys(
        [*known, *sorted((report.student, report.views) for report in reports)]
    ):
        own = [report for report in reports if (report.student, report.views) == group]
        lines += _section(group, own)
    lines += [_COST, *_cost_table(), ""]
    return "\n".join(lines)


def _section(group: Group, own: Sequence[Report]) -> Iterator[str]:
    student, views = group
    yield f"## {_TITLES.get(student, student)}, {views} stored view{'s' * (views > 1)} an image"
    yield ""
    if student != "vit":
        yield "The project page has no table for this student, so only your own figures are shown."
        yield ""
    yield from _main_table(own, with_paper=student == "vit")
    yield ""
    yield from _provenance(own)
    for name in DATASETS:
        if set_reports := [report for report in own if report.dataset == name]:
            yield from _target_table(name, set_reports)


def _main_table(own: Sequence[Report], *, with_paper: bool) -> list[str]:
    columns = ["method"]
    for title in (*_COLUMNS.values(), "average", "source validation"):
        columns += [f"{title}, paper", f"{title}, here"] if with_paper else [title]
    rows = []
    for row in _rows(own, with_paper=with_paper):
        cells = [row.name]
        for column in (*_COLUMNS, "average", "id"):
            cells += [row.figure(column)] if with_paper else []
            cells.append(_own_cell(own, row.method, column))
        rows.append(cells)
    return table(columns, rows)


def _rows(own: Sequence[Report], *, with_paper: bool) -> list[Published]:
    """Returns the paper's rows in their order, then the methods that only this project has."""
    rows = [*published("teacher"), *published("vit")]
    if not with_paper:
        rows = [entry for entry in rows if entry.method]
    listed = {entry.method for entry in rows}
    more = dict.fromkeys([ONE_QUERY, *sorted(entry.method for entry in own)])
    titles = {ONE_QUERY: f"`{ONE_QUERY}` of this project"}
    return [
        *rows,
        *(
            Published(name=titles.get(name, f"`{name}`"), method=name, figures={})
            for name in more
            if name not in listed
        ),
    ]


def _own_cell(own: Sequence[Report], method: str | None, column: str) -> str:
    if method is None:
        return ""
    if column == "id":
        return str(average_accuracy(own, method, part="validation"))
    return str(
        average_accuracy(own, method)
        if column == "average"
        else dataset_accuracy(own, column, method)
    )


def _provenance(own: Sequence[Report]) -> Iterator[str]:
    teachers = sorted({report.teacher for report in own})
    if len(teachers) > 1:
        message = (
            f"the runs used {len(teachers)} teachers ({', '.join(teachers)}): use a separate "
            "--out for each"
        )
        raise BadInput(message)
    if teachers:
        backbones = ", ".join(sorted({f"`{report.backbone}`" for report in own}))
        yield f"Here: teacher `{teachers[0]}`, student {backbones}."
        yield ""
    if changed := sorted({change for report in own for change in report.changed}):
        yield f"**Not the paper's settings** in these runs: {'; '.join(changed)}."
        yield ""


def _target_table(name: str, set_reports: Sequence[Report]) -> Iterator[str]:
    methods = list(dict.fromkeys(report.method for report in set_reports))
    images = {report.target: report.images for report in set_reports}
    yield f"### {name}, target by target"
    yield ""
    yield from table(
        ["target", *methods, "images"],
        [
            [
                target,
                *(str(target_accuracy(set_reports, name, method, target)) for method in methods),
                f"{images[target]:,}",
            ]
            for target in DATASETS[name].domains
            if target in images
        ],
    )
    yield ""


def _cost_table() -> list[str]:
    rows = []
    for name, dataset in DATASETS.items():
        domains = len(dataset.domains)
        per_target = published_queries(steps=dataset.steps, sources=domains - 1)
        rows.append(
            [
                name,
                f"{dataset.images:,}",
                f"{per_target:,}",
                f"{per_target * domains:,}",
                *(f"{dataset.images * views + dataset.classes:,}" for views in (1, 4, 16)),
            ]
        )
    columns = [
        *("set", "images", "as published, one target", "as published, all targets"),
        *(f"K = {views}, all targets" for views in (1, 4, 16)),
    ]
    return table(columns, rows)
