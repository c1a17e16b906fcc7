"""The grids by name, each in the order in which its runs are made: the most important first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from benchmarks.evidence import user_data
from benchmarks.evidence.digits import digits, digits_again
from benchmarks.evidence.modality_gap import modality_gap
from benchmarks.evidence.protocol import (
    HOUSES,
    JOINT,
    ONE_QUERY,
    PUBLISHED_VIEWS,
    SEEDS,
    SEEDS_OF_TEACHERS,
    STEPS_AS_PUBLISHED,
    TWO_HOUSES,
    VIEWS_AT_THESE,
    emoji,
    settings_for,
)
from benchmarks.evidence.white_box import PIXELS, white_box
from student.acquisition.strategies import SELECTORS
from student.bench.constants import ZERO_SHOT
from student.bench.rows import Option
from student.bench.run import Grid, Run

FRACTIONS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
FIRST_OF_THEM = (0.1, 0.0, 0.01, 0.25, 0.05, 0.5, 1.0)
"""The order in which a curve's points are made: a tenth is what a target asks about."""
EQUAL_SPEND = (1, 2, 4, 8, 16)
"""Views of each image, K, of 1/K, 4/K and so on of the images."""


def headline(houses: Sequence[str] = HOUSES, seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """ERM, VL2V-ADiP as published, and VL2V-ADiP-1q at one query an image; after them KD."""
    first = (run for seed in seeds for house in houses for run in _headline_of(house, seed))
    kd = (emoji("kd", house, seed, views=PUBLISHED_VIEWS) for seed in seeds for house in houses)
    return (*first, *kd)


def _headline_of(house: str, seed: int) -> Iterator[Run]:
    yield emoji("erm", house, seed)
    yield emoji("vl2v-adip", house, seed, views=PUBLISHED_VIEWS)
    yield emoji(ONE_QUERY, house, seed, views=1)
    yield emoji(ZERO_SHOT, house, seed)


def methods(
    houses: Sequence[str] = TWO_HOUSES, seeds: Sequence[int] = SEEDS[:1]
) -> tuple[Run, ...]:
    """VL2V-ADiP-1q and the published method at other numbers of views, the controls, and every
    other method, on two house styles; the ablation of VL2V-ADiP-1q on one of them.

    One seed: the page says how far another seed would move the figures.
    """
    return tuple(
        run
        for seed in seeds
        for run in (
            *(run for house in houses for run in _methods_on(house, seed)),
            *(emoji(ONE_QUERY, houses[0], seed, options=dict(lever)) for lever in LEVERS),
        )
    )


def _methods_on(house: str, seed: int) -> Iterator[Run]:
    redrawn = dict(INK)
    yield emoji(ONE_QUERY, house, seed, views=4)
    for views in (1, 4):
        yield emoji("vl2v-adip", house, seed, views=views)
    yield emoji("erm", house, seed, options=redrawn)
    yield emoji("vl2v-adip", house, seed, views=1, options=redrawn)
    for method in OTHERS:
        yield emoji(method, house, seed, views=4)


OTHERS = ("lp-ft", "linear-probe", "text-only", "image-only", "one-stage", "simkd", "rise")

INK: tuple[tuple[str, Option], ...] = (("clean_prob", 0.7), ("line_drawing_prob", 0.5))
"""How VL2V-ADiP-1q shows images, to measure what that alone is worth to other methods."""

LEVERS: tuple[tuple[tuple[str, Option], ...], ...] = (
    (("line_drawing_prob", 0.0),),
    (("clean_prob", 0.0),),
    (("clean_prob", 0.0), ("line_drawing_prob", 0.0)),
    (("lmd", 0.5),),
    (("lmd", 0.7),),
    (("lmd", 1.0),),
    (("averaging", "none"),),
    (("averaging", "ema"),),
    (("align", "ridge"),),
    (("mix", "mixup"),),
    (("mix", "cutmix"),),
    (("schedule", "cosine"),),
    (("prompts", "domain"),),
    (("steps", 1680),),
)
"""The ablation of VL2V-ADiP-1q, one change at a time. Some options left the product after version
0.1: their rows are read, and they are not made again."""

LEAST_GAIN = ("facebook", "twitter")
"""The house styles on which VL2V-ADiP-1q gains least over the published recipe in the headline."""
ASIDE: tuple[tuple[int, tuple[tuple[str, Option], ...]], ...] = (
    (4, ()),
    (PUBLISHED_VIEWS, ()),
    (1, (("line_drawing_prob", 0.0),)),
    (1, (("clean_prob", 0.0),)),
    (1, (("lmd", 0.5),)),
)
"""What may explain that: its one view, the images it is shown, the weight of its image term."""


def least_gain(houses: Sequence[str] = LEAST_GAIN, seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """VL2V-ADiP-1q with one change, on the styles where it gains least."""
    return tuple(
        emoji(ONE_QUERY, house, seed, views=views, options=dict(lever))
        for seed in seeds
        for house in houses
        for views, lever in ASIDE
    )


def curves(
    houses: Sequence[str] = TWO_HOUSES[:1],
    seeds: Sequence[int] = SEEDS,
    selectors: Sequence[str] = tuple(SELECTORS),
) -> tuple[Run, ...]:
    """Accuracy against queries: VL2V-ADiP-1q at increasing numbers of images, by selector.

    The first selector's whole curve is made first, because the others are compared with it.
    """
    first, *others = selectors
    in_order = [(first, seed) for seed in seeds] + [
        (selector, seed) for seed in seeds for selector in others
    ]
    return tuple(
        emoji(ONE_QUERY, house, seed, fraction=fraction, selector=name)
        for name, seed in in_order
        for fraction in FIRST_OF_THEM
        for house in houses
    )


def spend(houses: Sequence[str] = TWO_HOUSES[:1], seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """N images in one view against N/K images in K, at the price of all, and at four times it."""
    return tuple(
        emoji(ONE_QUERY, house, seed, views=views, fraction=times / views)
        for seed in seeds
        for house in houses
        for times in (1, 4)
        for views in EQUAL_SPEND
        if times <= views
    )


def teachers(
    houses: Sequence[str] = TWO_HOUSES,
    seeds: Mapping[str, Sequence[int]] = SEEDS_OF_TEACHERS,
) -> tuple[Run, ...]:
    """What the teacher's own knowledge of a style is worth to the student: first that knowledge."""
    return tuple(
        emoji(method, house, seed, teacher=teacher)
        for kind in ((ZERO_SHOT,), ("erm", "vl2v-adip", ONE_QUERY))
        for teacher, its_seeds in seeds.items()
        for seed in its_seeds
        for house in houses
        for method in kind
    )


def published_steps(
    houses: Sequence[str] = TWO_HOUSES[:1], seeds: Sequence[int] = SEEDS
) -> tuple[Run, ...]:
    """The published recipe at its own number of steps, with a new view at each.

    Then VL2V-ADiP-1q and ERM at as many steps, on the first seed."""
    longer: dict[str, Option] = {
        "steps": STEPS_AS_PUBLISHED,
        "align_steps": STEPS_AS_PUBLISHED,
        "eval_every": STEPS_AS_PUBLISHED // 8,
    }
    published = [(seed, "vl2v-adip", VIEWS_AT_THESE) for seed in seeds]
    return tuple(
        emoji(method, house, seed, views=views, options=longer)
        for seed, method, views in (*published, (seeds[0], ONE_QUERY, 1), (seeds[0], "erm", 1))
        for house in houses
    )


def joint(houses: Sequence[str] = HOUSES, seeds: Sequence[int] = SEEDS) -> tuple[Run, ...]:
    """What `auto` trains, on every house style: the variants that were tried, on two.

    ERM and VL2V-ADiP-1q on the same styles are rows of the headline.
    """
    first = (emoji(JOINT, house, seed) for seed in seeds for house in TWO_HOUSES)
    others = (
        emoji(JOINT, house, seed) for seed in seeds for house in houses if house not in TWO_HOUSES
    )
    variants = (
        emoji(method, house, seed, options=dict(options))
        for seed in seeds
        for house in TWO_HOUSES
        for method, options in ((JOINT, INK), *user_data.TRIED)
    )
    return (*first, *others, *variants)


RUNS: Mapping[str, Callable[[], tuple[Run, ...]]] = MappingProxyType(
    {
        "headline": headline,
        "joint": joint,
        "methods": methods,
        "least-gain": least_gain,
        "curves": curves,
        "spend": spend,
        "teachers": teachers,
        "digits": digits,
        "digits-again": digits_again,
        "published-steps": published_steps,
        "white-box": white_box,
        "modality-gap": modality_gap,
        **user_data.GRIDS,
    }
)
"""In the order in which a machine with little time should make them."""

_DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "digits": "digits",
        "digits-again": "digits",
        **{name: user_data.CLIP_SPACE.get(name, name) for name in user_data.GRIDS},
    }
)
"""The data set of each grid that is not on emoji."""


def grid(name: str, **more: object) -> Grid:
    """The grid of this name at the protocol's settings, or at those given."""
    dataset = _DATASETS.get(name, "emoji")
    white = {"image_size": PIXELS} if name == "white-box" else {}
    own = {**white, **user_data.SETTINGS.get(dataset, {})}
    return Grid(name=name, base=settings_for(dataset, **{**own, **more}), runs=RUNS[name]())


QUICK: Mapping[str, object] = MappingProxyType(
    {"steps": 40, "align_steps": 100, "eval_every": 20, "batch_per_domain": 8}
)


def quick() -> Grid:
    """A few short runs: the machinery from purchase to page, not a result."""
    seeds, houses = (0, 1), TWO_HOUSES[:1]
    runs = tuple(
        run
        for seed in seeds
        for house in houses
        for run in (
            emoji("erm", house, seed),
            emoji("vl2v-adip", house, seed, views=2),
            emoji(ONE_QUERY, house, seed, views=1),
            emoji(ONE_QUERY, house, seed, views=1, fraction=0.1),
            emoji(ZERO_SHOT, house, seed),
        )
    )
    return Grid(name="quick", base=settings_for("emoji", **QUICK), runs=runs)
