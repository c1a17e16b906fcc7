"""Which settings distinguish two runs, and which do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.bench.constants import NO_TEACHER
from student.bench.run import identity, resolved
from student.errors import BadInput
from tests.support.small_grid import run, settings

PETS = Path("pets")


@pytest.mark.parametrize(
    "other",
    [
        run(seed=1),
        run(target="d1"),
        run("kd"),
        run(views=2),
        run(fraction=0.5),
        run(fraction=0.5, selector="herding"),
        run(teacher="another"),
        run(options={"lmd": 0.7}),
        run(options={"prompts": "domain"}),
        run(options={"wise_ft": 0.5}),
        run(options={"backbone": "test_vit"}),
    ],
)
def test_every_setting_that_affects_a_result_is_part_of_the_identity(other: object) -> None:
    assert identity(other, settings(PETS)) != identity(run(), settings(PETS))  # type: ignore[arg-type]


def test_folder_device_threads_budget_and_vendor_are_not_part_of_the_identity() -> None:
    here = settings(PETS)
    there = settings(Path("elsewhere"), threads=7, device="cuda", budget=3, vendor="http://x")
    assert identity(run(), here) == identity(run(), there)


def test_an_option_at_its_default_value_is_the_same_run() -> None:
    plain = identity(run(), settings(PETS))
    for options in ({"lmd": 0.5}, {"wise_ft": 1.0}):
        assert identity(run(options=options), settings(PETS)) == plain


def test_a_setting_named_by_the_run_overrides_the_methods_own() -> None:
    base = settings(PETS)
    assert resolved(run("vl2v-adip-1q"), base).lmd != 0.5
    assert resolved(run("vl2v-adip-1q", options={"lmd": 0.5}), base).lmd == 0.5


def test_a_method_without_queries_is_the_same_run_at_every_budget() -> None:
    erm = run("erm", views=4, fraction=0.5, selector="herding", teacher="x")
    assert erm == run("erm")
    assert (erm.teacher, erm.fraction) == (NO_TEACHER, 0.0)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_with_nothing_or_everything_bought_the_selector_does_not_matter(fraction: float) -> None:
    assert run(fraction=fraction, selector="herding") == run(fraction=fraction)


@pytest.mark.parametrize(
    "unfit",
    [
        {"options": {"image_size": 32}},
        {"options": {"seed": 1}},
        {"selector": "none"},
        {"fraction": 1.5},
        {"views": 0},
        {"method": "magic"},
    ],
)
def test_a_run_that_is_invalid_in_any_grid_is_refused(unfit: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        run(**unfit)  # type: ignore[arg-type]
