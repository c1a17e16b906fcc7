"""The sections on PACS, on a real CLIP, and on `--method auto`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence.grids import INK, grid
from benchmarks.evidence.lines import HOUSE, LINES, NAMES, Found
from benchmarks.evidence.protocol import JOINT
from benchmarks.evidence.user_data import ALIKE, AS_ONE_QUERY, CIFAR, GRIDS, PACS, TRIED
from benchmarks.evidence.user_data import LINES as CANDIDATES
from benchmarks.evidence.words import AUTO, CIFAR_TEXT, PACS_TEXT
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Row
from student.bench.run import Run, identity, normalised
from student.bench.series import VALIDATION, Column, Series, part, parts, series
from student.bench.tables import accuracy_table, difference_table
from student.options import Options
from tools.cifar.lay_out import SHIFTS
from tools.pacs.lay_out import SEEN


def _whole(row: Row) -> float | None:
    """The accuracy on both halves of a held-out domain together."""
    halves = [row.accuracies[name] for name in row.targets if name in row.accuracies]
    right, images = (sum(getattr(half, of) for half in halves) for of in ("correct", "images"))
    return right / images if images else None


OTHER_HALF = parts("the half the teacher never saw", lambda row: row.targets[:1])
WHOLE = Column(title="all of the domain", of=_whole)
_VARIANTS = {
    INK: ", mostly unchanged",
    ALIKE: ", backgrounds alike",
    AS_ONE_QUERY: ", as 1q",
}
SHIFTED = parts("mean of six shifts", lambda _: tuple(SHIFTS))
LOOK = parts("unseen look", lambda row: row.targets)


def read_choices(path: Path) -> list[dict[str, Any]]:
    """The choices of a file, in its order; none if there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def pacs_section(found: Found) -> Iterator[str]:
    """PACS, each domain held out in turn."""
    yield from ["## PACS, with the settings found on emoji", "", PACS_TEXT]
    lines = lines_of(found, PACS)
    erm, *others = lines
    columns = (OTHER_HALF, WHOLE, VALIDATION)
    yield from [*accuracy_table(lines, columns), ""]
    yield from [*difference_table(others, [erm], columns), ""]
    for name in PACS:
        domain = name.removeprefix("pacs-")
        own = [line.of_targets(domain, domain + SEEN) for line in (erm, *others)]
        if not any(line.rows for line in own):
            continue
        yield from [f"{domain.replace('_', ' ').capitalize()} held out:", ""]
        yield from [*difference_table(own[1:], own[:1], columns), ""]


def cifar_section(found: Found) -> Iterator[str]:
    """CIFAR-10 with a real CLIP's answers."""
    yield from ["## With the recorded answers of a real CLIP", "", CIFAR_TEXT]
    lines = lines_of(found, (CIFAR,))
    columns = (SHIFTED, part("other", "2,500 other images"), *(part(name) for name in SHIFTS))
    yield from [*accuracy_table(lines, columns), ""]
    yield from [*difference_table(lines[1:], lines[:1], columns), ""]


def auto_section(found: Found, choices: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What `--method auto` chose, and what that gives."""
    yield from ["## A method chosen on the labelled domains", "", AUTO]
    for title, names, columns in (
        ("Digits", ("digits", "digits-again"), (LOOK,)),
        ("PACS", PACS, (OTHER_HALF, WHOLE)),
        ("CIFAR-10 with the answers of a real CLIP", (CIFAR,), (SHIFTED,)),
        ("Emoji", ("headline", "joint"), (HOUSE, LINES)),
    ):
        made = _of(names, choices)
        if not made:
            yield from [f"{title}: no choice has been made yet.", ""]
            continue
        auto = chosen_series(found, names, choices)
        shared = [shared_rows(line, auto) for line in single_methods(found, names)]
        compared = [line for line in shared if line.rows]
        plain = sum(one["method"] == "erm" for one in made)
        yield from [
            f"{title}: of {len(made)} choices, {plain} took ERM and bought no image embedding, and "
            f"{len(made) - plain} took {NAMES[JOINT]}. Labels alone were right on {_range(made)} "
            "of source validation.",
            "",
        ]
        yield from [*difference_table([auto], compared, columns), ""]


def single_methods(found: Found, names: Sequence[str]) -> list[Series]:
    """A line for each method that these grids train, as it is and with the variants tried.

    Without *backgrounds alike* where no folder is one of icons: it is the method itself there.
    """
    no_icons = set(names) <= set(GRIDS)
    left_out = {NAMES[ZERO_SHOT], *([NAMES[JOINT] + _VARIANTS[ALIKE]] if no_icons else [])}
    return [line for line in lines_of(found, names) if line.title not in left_out]


def chosen_series(found: Found, names: Sequence[str], choices: Sequence[dict[str, Any]]) -> Series:
    """The rows of the chosen methods: what `auto` gives on each split with a choice."""
    rows = {}
    planned_runs = [_run_of(one, names) for one in _of(names, choices)]
    for run, base in planned_runs:
        if (row := found.rows.get(identity(run, base))) is not None:
            rows[run.targets, run.seed] = row
    return Series(title="auto", planned=len(planned_runs), rows=rows)


def _run_of(choice: dict[str, Any], names: Sequence[str]) -> tuple[Run, Options]:
    """What is trained after a choice, with its grid's settings.

    The teacher is that of these grids' joint runs on the same split.
    """
    grids = [grid(name) for name in names]
    split = choice["dataset"], tuple(choice["targets"]), choice["seed"]
    teachers = {
        (run.dataset, run.targets, run.seed): run.teacher
        for planned in grids
        for run in planned.runs
        if (run.method, run.options) == (JOINT, ())
    }
    base = next(
        planned.base
        for planned in grids
        if split in {(run.dataset, run.targets, run.seed) for run in planned.runs}
    )
    dataset, targets, seed = split
    run = Run(
        dataset=dataset,
        targets=targets,
        seed=seed,
        method=choice["method"],
        teacher=teachers[split],
    )
    return normalised(run), base


def _range(choices: Sequence[dict[str, Any]]) -> str:
    """The shares of source validation on which labels alone were right, from least to most."""
    shares = sorted(100 * one["correct"] / one["validation_images"] for one in choices)
    least, most = f"{shares[0]:.1f}", f"{shares[-1]:.1f}"
    return f"{least}%" if least == most else f"{least}% to {most}%"


def _of(names: Sequence[str], choices: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The choices for the splits on which these grids train VL2V-ADiP-joint."""
    splits = {
        (run.dataset, run.targets, run.seed)
        for name in names
        for run in grid(name).runs
        if run.method == JOINT
    }
    return [
        one for one in choices if (one["dataset"], tuple(one["targets"]), one["seed"]) in splits
    ]


def shared_rows(line: Series, other: Series) -> Series:
    """The rows of a line at the splits and seeds of the other."""
    rows = {at: row for at, row in line.rows.items() if at in other.rows}
    return Series(title=line.title, planned=len(other.rows), rows=rows)


def lines_of(found: Found, names: Sequence[str]) -> list[Series]:
    """A line for each candidate and the teacher, over these grids together."""
    lines = []
    for method, options in (*CANDIDATES, (JOINT, INK), *TRIED, (ZERO_SHOT, ())):
        title = NAMES.get(method, method) + _VARIANTS.get(options, "")
        of_grids = []
        for name in names:
            planned = grid(name)
            wanted = (method, 1, options)
            runs = [r for r in planned.runs if (r.method, r.views, r.options) == wanted]
            of_grids.append(series(title, runs, planned.base, found.rows))
        planned_runs = sum(one.planned for one in of_grids)
        if planned_runs:
            rows = {at: row for one in of_grids for at, row in one.rows.items()}
            lines.append(Series(title=title, planned=planned_runs, rows=rows))
    return lines
