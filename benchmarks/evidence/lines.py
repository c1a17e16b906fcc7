"""The lines and columns of the page: which rows belong to which line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.evidence.grids import (
    ASIDE,
    EQUAL_SPEND,
    FRACTIONS,
    INK,
    LEAST_GAIN,
    LEVERS,
    grid,
)
from benchmarks.evidence.protocol import (
    HOUSES,
    JOINT,
    LINE_DRAWINGS,
    ONE_QUERY,
    PUBLISHED_VIEWS,
    STYLES_UNSEEN,
    TWO_HOUSES,
    emoji,
)
from benchmarks.evidence.white_box import LINES as LINES_AT_HAND
from benchmarks.evidence.white_box import WHITE_BOX_SEEDS, of_line
from student.acquisition.strategies import SELECTORS
from student.bench.charts import Curve
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Option, Row
from student.bench.run import Grid, Run
from student.bench.series import VALIDATION, Column, Series, part, parts, series
from student.bench.statistics import half_width_of_one_seed

HOUSE = parts("house style", lambda row: [name for name in row.targets if name in HOUSES])
OPENMOJI = part("openmoji", "OpenMoji")
LINES = parts("line drawings", lambda _: LINE_DRAWINGS)
SHIFTS = (HOUSE, OPENMOJI, LINES)
TEACHER_ONLY = part("known to the teacher only, source domains", "teacher only, seen styles")
KINDS = (
    VALIDATION,
    TEACHER_ONLY,
    part("known to nobody, source domains", "nobody, seen styles"),
    parts("trained on, unseen styles", lambda row: row.targets),
    part("known to the teacher only, target domains", "teacher only, unseen styles"),
    part("known to nobody, target domains", "nobody, unseen styles"),
)
DIGITS_SHIFT = (parts("unseen look", lambda row: row.targets), VALIDATION)

HEADLINE = [
    ("erm", 1),
    ("kd", PUBLISHED_VIEWS),
    ("vl2v-adip", PUBLISHED_VIEWS),
    (ONE_QUERY, 1),
    (ZERO_SHOT, 1),
]

NAMES = {
    "erm": "ERM",
    "kd": "KD",
    "vl2v-adip": "VL2V-ADiP",
    ONE_QUERY: "VL2V-ADiP-1q",
    "vl2v-adip-erm": "VL2V-ADiP and ERM",
    JOINT: "VL2V-ADiP-joint",
    "lp-ft": "LP-FT",
    "linear-probe": "linear probe",
    "simkd": "SimKD",
    "rise": "RISE-style",
    "one-stage": "one stage (no Align)",
    "text-only": "text term only",
    "image-only": "image term only",
    ZERO_SHOT: "the teacher, zero-shot",
}


def titled(run: Run) -> str:
    """What a run's line is called."""
    name = NAMES.get(run.method, run.method)
    if run.method == "vl2v-adip" and run.views == PUBLISHED_VIEWS:
        return f"{name}, as published"
    if run.fraction == 0.0:
        return name
    return f"{name}, {_number_of(run.views)}"


def _number_of(views: int) -> str:
    return f"{views} view{'s' if views > 1 else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The rows by id, and the series of a grid that are to be had of them."""

    rows: Mapping[str, Row]

    def where(self, planned: Grid, title: str, **wanted: object) -> Series:
        """The runs of a grid of which these fields have these values."""
        runs = [
            run
            for run in planned.runs
            if all(getattr(run, name) == value for name, value in wanted.items())
        ]
        return series(title, runs, planned.base, self.rows)

    def headline(self) -> list[Series]:
        """The main lines, over all house styles."""
        return self._plain(grid("headline"), HEADLINE)

    def digits(self) -> list[Series]:
        """The same lines on digits."""
        return self._plain(grid("digits"), HEADLINE)

    def methods(self) -> list[Series]:
        """Every method on two house styles, and those that are shown images as VL2V-ADiP-1q is."""
        others = grid("methods")
        named = list(dict.fromkeys((r.method, r.views) for r in others.runs if not r.options))
        inked = dict.fromkeys(r.method for r in others.runs if r.options == INK)
        return [
            *self._plain(_headline_on(TWO_HOUSES), HEADLINE),
            *self._plain(others, named),
            *(
                self.where(
                    others, f"{NAMES[name]}, images as {NAMES[ONE_QUERY]}", method=name, options=INK
                )
                for name in inked
            ),
        ]

    def lever_start(self) -> Series:
        """VL2V-ADiP-1q, on the style of its ablation."""
        targets = emoji(ONE_QUERY, TWO_HOUSES[0], 0).targets
        return self.where(
            grid("headline"), f"{NAMES[ONE_QUERY]}, 1 view", method=ONE_QUERY, targets=targets
        )

    def levers(self) -> list[Series]:
        """VL2V-ADiP-1q with one option changed."""
        planned = grid("methods")
        return [self.where(planned, _changed(lever), options=lever) for lever in LEVERS]

    def by_chance(self, column: Column) -> float | None:
        """How far another seed moves a difference of two single runs: half its 95% interval."""
        _, _, published, one_query, _ = self.headline()
        return half_width_of_one_seed(one_query.values(column), published.values(column))

    def least_gain(self) -> list[Series]:
        """VL2V-ADiP-1q where it gains least over the published recipe, and variants of it."""
        planned = grid("least-gain")
        _, _, published, one_query, _ = self._plain(_headline_on(LEAST_GAIN), HEADLINE)
        return [
            published,
            one_query,
            *(
                self.where(planned, _changed(lever) or f"{views} views", views=views, options=lever)
                for views, lever in ASIDE
            ),
        ]

    def curves(self) -> list[Curve]:
        """VL2V-ADiP-1q at increasing numbers of images, by selector."""
        planned = grid("curves")
        return [
            Curve(
                label=name,
                points=[
                    self.where(
                        planned,
                        f"{name}, {fraction:.0%}",
                        fraction=fraction,
                        # With none or all there is nothing to select.
                        selector="random" if fraction in (0.0, 1.0) else name,
                    )
                    for fraction in FRACTIONS
                ],
            )
            for name in SELECTORS
        ]

    def curve_levels(self) -> dict[str, Series]:
        """What the curves are compared with, at the same held-out style."""
        planned = grid("headline")
        targets = next(iter(grid("curves").runs)).targets
        return {
            title: self.where(planned, title, method=method, views=views, targets=targets)
            for title, method, views in (
                ("ERM", "erm", 1),
                ("VL2V-ADiP, as published", "vl2v-adip", PUBLISHED_VIEWS),
            )
        }

    def spend(self, times: int) -> list[Series]:
        """K views of a part of the images, at the price of `times` views of all."""
        planned = grid("spend")
        return [
            self.where(
                planned,
                f"{times / views:.1%} of the images, {_number_of(views)}",
                views=views,
                fraction=times / views,
            )
            for views in EQUAL_SPEND
            if views >= times
        ]

    def teacher(self, teacher: str, method: str) -> Series:
        """A method with one of the teachers."""
        wanted = {"method": method} if method == "erm" else {"method": method, "teacher": teacher}
        return self.where(grid("teachers"), f"{NAMES.get(method, method)}, {teacher}", **wanted)

    def published_steps(self) -> list[Series]:
        """The published recipe at its own number of steps, and others for comparison."""
        planned = grid("published-steps")
        return [
            self.where(planned, "VL2V-ADiP, 5,001 steps, as published", method="vl2v-adip"),
            self.where(planned, f"{NAMES[ONE_QUERY]}, 1 view, 5,001 steps", method=ONE_QUERY),
            self.lever_start(),
            self.where(planned, "ERM, 5,001 steps", method="erm"),
        ]

    def white_box(self) -> list[Series]:
        """The teacher, its tower distilled into and fine-tuned, each also half way back to it."""
        planned = grid("white-box")
        lines = []
        for title in LINES_AT_HAND:
            runs = [of_line(title, TWO_HOUSES[0], seed) for seed in WHITE_BOX_SEEDS]
            lines.append(series(title, runs, planned.base, self.rows))
        teacher = self.where(
            grid("teachers"),
            NAMES[ZERO_SHOT],
            method=ZERO_SHOT,
            teacher=STYLES_UNSEEN,
            targets=planned.runs[0].targets,
        )
        return [teacher, *lines]

    def _plain(self, planned: Grid, kinds: Sequence[tuple[str, int]]) -> list[Series]:
        found = []
        for method, views in kinds:
            runs = [
                r for r in planned.runs if (r.method, r.views, r.options) == (method, views, ())
            ]
            if runs:
                found.append(series(titled(runs[0]), runs, planned.base, self.rows))
        return found


def _changed(lever: Sequence[tuple[str, Option]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in lever)


def _headline_on(houses: Collection[str]) -> Grid:
    """The part of the headline that a grid on few houses is compared with."""
    planned = grid("headline")
    runs = tuple(run for run in planned.runs if set(run.targets) & set(houses))
    return Grid(name=planned.name, base=planned.base, runs=runs)
