"""Reads curves of accuracy against queries from bench rows or from folders of finished runs."""

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
from student.training.stored_names import LATER_DEFAULTS

META = "meta.json"
# Runs with the same budget differ slightly in queries: repeated images are free, and in
# leave-one-domain-out each student uses a different part of the purchase. Counts within 5%, or
# fewer than five queries apart, are treated as the same budget.
_SAME_LEVEL_RATIO, _SAME_LEVEL_QUERIES = 1.05, 5
# Options with a field of their own in Title, or that vary along a curve.
_COLUMNS_OF_A_CURVE = frozenset({"seed", "target_domain", "method", "views", "selector"})
# Options that came after version 0.1. At these values they say no more than if they are missing.
_ADDED_LATER: Mapping[str, object] = {
    "unlabelled": False,
    "measured_images": 200,
    "hold_out_classes": [],
    **LATER_DEFAULTS,
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Title:
    """The settings that all points of a curve share.

    `rest` is a JSON string of the settings without a field of their own.
    """

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
    """The measured points that share a title."""

    title: Title
    points: tuple[Point, ...]

    @property
    def num_levels(self) -> int:
        """The number of distinct budgets among the points."""
        return len({point.level for point in self.points})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Student:
    title: Title
    fraction: float | None  # share of the images that was bought; None if read from a run's folder
    queries: int
    seed: int
    scores: dict[str, tuple[int, int]]  # correct predictions and images, by part

    def point(self, parts: Sequence[str], levels: Mapping[int, float]) -> Point | None:
        """Returns the point measured on these parts together, or None if it has none of them.

        The default parts are the held-out domains or, if there are none, the validation part.
        `levels` maps the queries of a run to its level.
        """
        chosen = parts or self.title.targets or (VALIDATION,)
        found = [self.scores[part] for part in chosen if part in self.scores]
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
    """Reads curves from bench files (JSON lines) and from output folders of runs.

    Accuracy is measured on `parts` together. The default is the held-out domains or, if there are
    none, the validation part. Students that bought nothing, or everything, are on the curves of
    all selectors, because their purchases are the same. Runs whose queries differ by at most 5%, or
    by fewer than five, have the same level. Raises BadInput if a path cannot be read or no student
    was measured on these parts.
    """
    students = [student for path in paths for student in _read(path)]
    by_title: dict[Title, tuple[Point, ...]] = {}
    for title in {student.title for student in students}:
        members = [student for student in students if _belongs(student, title)]
        levels = _levels(student.queries for student in members)
        points = [student.point(parts, levels) for student in members]
        if found := tuple(point for point in points if point is not None):
            by_title[title] = found
    if not by_title:
        known = sorted({part for student in students for part in student.scores})
        message = f"no student was measured on that; there are {', '.join(known) or 'no students'}"
        raise BadInput(message)
    return [Curve(title=title, points=by_title[title]) for title in sorted(by_title)]


def _levels(counts: Iterable[int]) -> dict[int, float]:
    """Maps each number of queries to its level, the smallest number in its group."""
    levels: dict[int, float] = {}
    level = -math.inf
    for count in sorted(set(counts)):
        if count > _SAME_LEVEL_RATIO * level and count >= level + _SAME_LEVEL_QUERIES:
            level = count
        levels[count] = level
    return levels


def forecast_curves(
    curves: Sequence[Curve], *, further: int, seed: int = 0
) -> list[tuple[Title, Forecast]]:
    """Forecasts `further` queries for each curve with at least LEAST_LEVELS budgets.

    Raises BadInput if no curve has that many.
    """
    forecasts = [
        (curve.title, forecast(curve.points, further=further, seed=seed))
        for curve in curves
        if curve.num_levels >= LEAST_LEVELS
    ]
    if not forecasts:
        most = max((curve.num_levels for curve in curves), default=0)
        message = (
            f"no method was trained at {LEAST_LEVELS} budgets or more with all else alike (at most "
            f"{most}); the smallest may be 0 images"
        )
        raise BadInput(message)
    return forecasts


COLUMNS = ("curve", "queries", "accuracy, %", "added, points", "95%", "held back", "no change")


def cells(title: Title, result: Forecast) -> list[str]:
    """Returns a forecast as the cells of a table row under COLUMNS.

    Errors are mean absolute errors in percentage points. "held back" is the error of forecasting
    the larger measured budgets from the smaller ones. "no change" is the error of forecasting that
    they add nothing.
    """
    return [
        str(title),
        f"{result.queries:,.0f}",
        f"{100 * result.accuracy:.1f}",
        f"{100 * result.gain:+.1f}",
        f"{100 * result.low:+.1f} to {100 * result.high:+.1f}",
        _points(result.mean_error),
        _points(result.mean_error_of_no_change),
    ]


def as_json(title: Title, result: Forecast) -> dict[str, Any]:
    """Returns all figures of a forecast, ready for JSON; accuracies are between 0 and 1."""
    errors = {
        "mean_error": result.mean_error,
        "mean_error_of_no_change": result.mean_error_of_no_change,
    }
    return {**asdict(title), **asdict(result), **errors}


def _points(share: float | None) -> str:
    return "untested" if share is None else f"{100 * share:.1f}"


def _belongs(student: _Student, title: Title) -> bool:
    own = student.title
    if own == title:
        return True
    differs_in_purchase_alone = (own.data, own.method, own.targets, own.rest) == (
        *(title.data, title.method, title.targets, title.rest),
    )
    if not differs_in_purchase_alone:
        return False
    return student.fraction == 0.0 or (student.fraction == 1.0 and own.views == title.views)


def _read(path: Path) -> list[_Student]:
    if path.is_dir():
        metas = [path / META] if (path / META).exists() else sorted(path.glob(f"*/{META}"))
        if not metas:
            message = f"{path} is not the output folder of a finished run: it has no {META}"
            raise BadInput(message)
        return [_student_of_run(meta) for meta in metas]
    if not path.is_file():
        message = f"there is no {path}"
        raise BadInput(message)
    rows = list(read_rows(path).values())
    recipes: dict[_Setting, set[str]] = defaultdict(set)
    for row in rows:
        if row.recipe:
            recipes[_setting(row)].add(row.recipe)
    return [_student_of_row(row, recipes[_setting(row)]) for row in rows]


_Setting = tuple[object, ...]


def _setting(row: Row) -> _Setting:
    """Returns the images, teacher and settings of a row, without its recipe."""
    return (
        *(row.dataset, row.data_sha256, row.method, row.teacher, row.fingerprint),
        *(row.steps, row.lmd, tuple(sorted(row.options.items()))),
    )


def _student_of_row(row: Row, recipes: Set[str]) -> _Student:
    """Converts a bench row; `recipes` are the recipes of all rows with the same setting.

    A row without a recipe gets the only recipe, if there is exactly one, so that a bench that was
    started before rows had recipes stays on a single curve.
    """
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
        scores={part: (count.correct, count.images) for part, count in scores.items()},
    )


def _student_of_run(path: Path) -> _Student:
    try:
        meta: dict[str, Any] = json.loads(path.read_text("utf-8"))
        settings: dict[str, Any] = renamed_options(meta["settings"])
        recipe = meta.get("recipe")
        excluded = NOT_IDENTIFYING | _COLUMNS_OF_A_CURVE
        rest = {
            name: value
            for name, value in settings.items()
            if name not in excluded and (name, value) not in _ADDED_LATER.items()
        }
        return _Student(
            title=Title(
                data=str(settings["data"]),
                method=renamed_method(meta["method"]),
                selector=settings.get("selector", "random"),
                views=settings["views"],
                targets=tuple(meta["targets"]),
                # Two runs can have equal settings although only one set an option explicitly and
                # so overrode the method's own value. The recipe distinguishes them.
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
            scores={
                part: (count["correct"], count["images"]) for part, count in meta["scores"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not the {META} of a finished run: {error!r}"
        raise BadInput(message) from error
