"""The grid and the report of a bench on a user's own folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cache.storage.atomic_file import replace_file
from student.bench.charts import Curve, against_queries
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Option, Row, read_rows
from student.bench.run import Grid, Run, normalised
from student.bench.series import VALIDATION, Column, Series, part, parts, series
from student.bench.tables import accuracy_table, difference_table
from student.data.folder.image_folder import discover
from student.options import Options
from student.report.markdown import plain
from student.report.pictures.lettering import lettering

COMPARED = ("erm", "vl2v-adip")
"""The methods with which all others are compared, if they were run."""
Kind = tuple[str, int, float, str, tuple[tuple[str, Option], ...]]


def folder_grid(
    options: Options,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    shares: Sequence[float],
) -> Grid:
    """Returns the grid: each method with each choice of held-out domains and each seed.

    The method of the options also runs at each of `shares` (0 to 1) of the images. Raises BadInput
    for a folder, a method or a share that cannot be used.
    """
    catalogue = discover(options.data.data, imagefolder=options.data.imagefolder)
    domains = catalogue.domains
    choices: list[tuple[str, ...]] = [(name,) for name in domains] if len(domains) > 1 else [()]
    if options.data.target_domain:
        choices = [tuple(map(catalogue.domain, options.data.target_domain))]
    asked = [(method, 1.0) for method in methods]
    asked += [(options.training.method, share) for share in shares]
    runs = [
        normalised(
            Run(
                dataset=options.data.data.resolve().name,
                targets=tuple(targets),
                seed=seed,
                method=method,
                views=options.data.views,
                fraction=share,
                selector=options.purchase.selector,
                teacher=options.purchase.teacher or "vendor",
            )
        )
        for seed in seeds
        for targets in choices
        for method, share in dict.fromkeys(asked)
    ]
    return Grid(name="bench", base=options, runs=tuple(dict.fromkeys(runs)))


def write_report(grid: Grid, rows: Path, out: Path) -> Path:
    """Writes bench.md and its chart to `out`, from the rows alone; returns the path of bench.md."""
    found = read_rows(rows)
    lines = {kind: _series(grid, kind, found) for kind in dict.fromkeys(map(_kind, grid.runs))}
    ours = [row for line in lines.values() for row in line.rows.values()]
    columns = _columns(ours)
    text = [
        "# Bench",
        "",
        "Accuracy in percent: the mean over seeds, each the mean over the held-out domains, with "
        "Student's 95% interval over seeds (± half of it); a figure without an interval is from a "
        "single seed. "
        "Differences are paired by held-out domains and seed. Weights are chosen on source "
        "validation only. Queries are those of a single student.",
        "",
        *accuracy_table(list(lines.values()), columns),
        "",
    ]
    for name in COMPARED:
        for kind, other in lines.items():
            if (kind[0], kind[2]) in ((name, 1.0), (name, 0.0)) and len(lines) > 1:
                others = [line for line in lines.values() if line is not other]
                text += [*difference_table(others, [other], columns), ""]
                break
    chart = out / "bench-queries.png"
    levels = {line.title: line for kind, line in lines.items() if kind[0] in ("erm", ZERO_SHOT)}
    if columns and against_queries(
        chart,
        _curves(lines),
        columns[:3],
        levels=levels,
        title="Accuracy against the queries bought",
    ):
        text += [f"![Accuracy against queries]({chart.name})", ""]
        if legend := lettering(column.title for column in columns[:3]).legend():
            text += [plain(legend), ""]
    seconds = sum(row.seconds for row in ours)
    text += [f"{len(ours)} of {len(grid.ids())} runs, {seconds / 3600:.1f} hours of training.", ""]
    page = out / "bench.md"
    replace_file(page, "\n".join(text).encode())
    return page


def _kind(run: Run) -> Kind:
    return run.method, run.views, run.fraction, run.selector, run.options


def _series(grid: Grid, kind: Kind, rows: dict[str, Row]) -> Series:
    method, views, share, chosen, _ = kind
    title = method
    if share > 0.0:
        title += f", {views} view{'s' if views > 1 else ''}"
    if 0.0 < share < 1.0:
        title += f" of {share:.1%} ({chosen})"
    return series(title, [run for run in grid.runs if _kind(run) == kind], grid.base, rows)


def _curves(lines: dict[Kind, Series]) -> list[Curve]:
    by_method: dict[str, list[Series]] = {}
    for kind, line in lines.items():
        if kind[0] not in ("erm", ZERO_SHOT):
            by_method.setdefault(kind[0], []).append(line)
    return [Curve(label=method, points=points) for method, points in by_method.items()]


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Returns the columns: all held-out domains together, source validation, and each part."""
    names = list(dict.fromkeys(name for row in rows for name in row.accuracies))
    targets = {target for row in rows for target in row.targets}
    columns = [parts("unseen domains", lambda row: row.targets)] if targets else []
    columns.append(VALIDATION)
    if len(names) > 1:
        columns += [
            part(name) for name in sorted(names, key=lambda name: (name not in targets, name))
        ]
    return columns
