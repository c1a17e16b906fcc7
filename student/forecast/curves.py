"""Accuracy against queries, from the rows of a bench or the folders of finished runs."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from student.bench.rows import Row, read_rows
from student.data.split import VALIDATION
from student.errors import BadInput
from student.forecast.power_law import LEAST_LEVELS, Forecast, Point, forecast
from student.options.options import NOT_IDENTIFYING
from student.options.renamed_options import renamed_method, renamed_options

META = "meta.json"
# What one budget buys differs from seed to seed: repeats are free, and where each domain is held
# out in turn a student has its own part of it. By less than this, as a share or in queries; budgets
# that are nearer to each other say nothing of a curve.
_ALIKE, _NEAR = 1.05, 5
# Options that a curve has in columns of its own, or along which it runs.
_COLUMNS_OF_A_CURVE = frozenset({"seed", "target_domain", "method", "views", "selector"})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Title:
    """What the points of a curve have in common; `rest` holds what no column shows."""

    data: str
    method: str
    selector: str
    views: int
    targets: tuple[str, ...]
    rest: str

    def __str__(self) -> str:
        held_out = f"held out {'+'.join(self.targets)}" if self.targets else "nothing held out"
        views = "1 view" if self.views == 1 else f"{self.views} views"
        return f"{self.data}: {self.method}, {self.selector}, {views}, {held_out}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The points of one title."""

    title: Title
    points: tuple[Point, ...]

    @property
    def num_levels(self) -> int:
        """The number of budgets at which it was measured."""
        return len({point.level for point in self.points})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Student:
    title: Title
    fraction: float | None  # of the images; None where a job does not say
    queries: int
    seed: int
    scores: dict[str, tuple[int, int]]  # right and all, by part

    def point(self, parts: Sequence[str], levels: Mapping[int, float]) -> Point | None:
        """Right on these parts together; None without them.

        Where none is named: on the targets or, with nothing held out, on the validation part.
        `levels` are of the queries of jobs.
        """
        wanted = parts or self.title.targets or (VALIDATION,)
        found = [self.scores[part] for part in wanted if part in self.scores]
        if not found:
            return None
        return Point(
            level=levels[self.queries] if self.fraction is None else self.fraction,
            queries=self.queries,
            correct=sum(correct for correct, _ in found),
            images=sum(images for _, images in found),
            seed=self.seed,
        )


def read_curves(paths: Iterable[Path], *, parts: Sequence[str] = ()) -> list[Curve]:
    """The curves of bench files (JSON lines) and of folders that jobs have written.

    Accuracy is on the held-out domains together (on the validation part where nothing is held out),
    or on the `parts` that are named. What buys nothing, and what buys everything, belongs to every
    selector: it is the same purchase. Jobs whose queries differ by at most 5%, or by fewer than
    five, are of one level, as the seeds of one budget are. Raises BadInput where there is nothing
    of the kind.
    """
    students = [student for path in paths for student in _read(path)]
    by_title: dict[Title, tuple[Point, ...]] = {}
    for title in {one.title for one in students}:
        its = [one for one in students if _belongs(one, title)]
        levels = _levels(one.queries for one in its)
        points = [one.point(parts, levels) for one in its]
        if found := tuple(point for point in points if point is not None):
            by_title[title] = found
    if not by_title:
        known = sorted({part for one in students for part in one.scores})
        message = f"no student was measured on that; there are {', '.join(known) or 'no students'}"
        raise BadInput(message)
    return [Curve(title=title, points=by_title[title]) for title in sorted(by_title)]


def _levels(counts: Iterable[int]) -> dict[int, float]:
    """The level of each number of queries: the smallest number that it is like."""
    levels: dict[int, float] = {}
    level = -math.inf
    for count in sorted(set(counts)):
        if count > _ALIKE * level and count >= level + _NEAR:
            level = count
        levels[count] = level
    return levels


def forecast_curves(
    curves: Sequence[Curve], *, further: int, seed: int = 0
) -> list[tuple[Title, Forecast]]:
    """A forecast for each curve with enough budgets. Raises BadInput if none has enough."""
    told = [
        (one.title, forecast(one.points, further=further, seed=seed))
        for one in curves
        if one.num_levels >= LEAST_LEVELS
    ]
    if not told:
        most = max((one.num_levels for one in curves), default=0)
        message = (
            f"no method was trained at {LEAST_LEVELS} budgets or more with all else alike (at most "
            f"{most}); the smallest may be 0 images"
        )
        raise BadInput(message)
    return told


COLUMNS = ("curve", "queries", "accuracy, %", "added, points", "95%", "held back", "no change")


def cells(title: Title, told: Forecast) -> list[str]:
    """A forecast as the cells of a table under COLUMNS; errors are mean absolute ones, in points.

    "held back" is the error of forecasting a larger budget that was measured from smaller ones, "no
    change" the error of saying that it adds nothing.
    """
    return [
        str(title),
        f"{told.queries:,.0f}",
        f"{100 * told.accuracy:.1f}",
        f"{100 * told.gain:+.1f}",
        f"{100 * told.low:+.1f} to {100 * told.high:+.1f}",
        _points(told.mean_error),
        _points(told.mean_error_of_no_change),
    ]


def as_json(title: Title, told: Forecast) -> dict[str, Any]:
    """A forecast with all its figures, as JSON."""
    errors = {
        "mean_error": told.mean_error,
        "mean_error_of_no_change": told.mean_error_of_no_change,
    }
    return {**asdict(title), **asdict(told), **errors}


def _points(share: float | None) -> str:
    return "untested" if share is None else f"{100 * share:.1f}"


def _belongs(one: _Student, title: Title) -> bool:
    own = one.title
    if own == title:
        return True
    is_same_but_for_choice = (own.data, own.method, own.targets, own.rest) == (
        *(title.data, title.method, title.targets, title.rest),
    )
    if not is_same_but_for_choice:
        return False
    return one.fraction == 0.0 or (one.fraction == 1.0 and own.views == title.views)


def _read(path: Path) -> list[_Student]:
    if path.is_dir():
        metas = [path / META] if (path / META).exists() else sorted(path.glob(f"*/{META}"))
        if not metas:
            message = f"{path} is no folder of a finished job: it has no {META}"
            raise BadInput(message)
        return [_of_job(meta) for meta in metas]
    if not path.is_file():
        message = f"there is no {path}"
        raise BadInput(message)
    rows = list(read_rows(path).values())
    recipes: dict[_Setting, set[str]] = defaultdict(set)
    for row in rows:
        if row.recipe:
            recipes[_setting(row)].add(row.recipe)
    return [_of_row(row, recipes[_setting(row)]) for row in rows]


_Setting = tuple[object, ...]


def _setting(row: Row) -> _Setting:
    """What a row tells of its images, teacher and settings without its recipe."""
    return (
        *(row.dataset, row.data_sha256, row.method, row.teacher, row.fingerprint),
        *(row.steps, row.lmd, tuple(sorted(row.options.items()))),
    )


def _of_row(row: Row, recipes: Set[str]) -> _Student:
    """`recipes` are those of the rows of its setting. A row without one is taken for theirs where
    they have but one, so that a bench that was begun before recipes goes on in the same curve."""
    recipe = row.recipe or (min(recipes) if len(recipes) == 1 else "")
    scores = {**row.accuracies, VALIDATION: row.validation}
    return _Student(
        title=Title(
            data=row.dataset,
            method=row.method,
            selector=row.selector,
            views=row.views,
            targets=row.targets,
            rest=json.dumps([*_setting(row), recipe]),
        ),
        fraction=row.fraction,
        queries=row.queries,
        seed=row.seed,
        scores={part: (one.correct, one.images) for part, one in scores.items()},
    )


def _of_job(path: Path) -> _Student:
    try:
        meta: dict[str, Any] = json.loads(path.read_text())
        settings: dict[str, Any] = renamed_options(meta["settings"])
        recipe = meta.get("recipe")
        aside = NOT_IDENTIFYING | _COLUMNS_OF_A_CURVE
        rest = {name: value for name, value in settings.items() if name not in aside}
        return _Student(
            title=Title(
                data=str(settings["data"]),
                method=renamed_method(meta["method"]),
                selector=settings.get("selector", "random"),
                views=settings["views"],
                targets=tuple(meta["targets"]),
                # Of two jobs of the same settings one may have named a setting, and kept it from
                # being the method's own: the recipe tells.
                rest=json.dumps(
                    [
                        meta["teacher"]["fingerprint"],
                        renamed_options(recipe) if recipe else recipe,
                        rest,
                    ],
                    sort_keys=True,
                ),
            ),
            fraction=None,
            queries=meta["queries"],
            seed=meta["seed"],
            scores={part: (one["correct"], one["images"]) for part, one in meta["scores"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not what a finished job writes: {error!r}"
        raise BadInput(message) from error
