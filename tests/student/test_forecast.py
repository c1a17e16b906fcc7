"""The forecast is right about curves whose law is known, and says so when it is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from student.bench.rows import Counted, Row, add_row
from student.cli import main
from student.curves import read_curves
from student.errors import BadInput
from student.forecast import Law, Point, fit, forecast

LEVELS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
FULL = 2000
TRUTH = Law(top=0.82, gap=0.3, scale=150.0, power=1.0)


def measured(
    truth: Callable[[float], float],
    *,
    images: int = 100_000,
    seeds: int = 1,
    noise: int | None = None,
) -> list[Point]:
    """A student at every level; its accuracy is the truth, or drawn from it with the noise."""
    source = np.random.default_rng(noise)
    points = []
    for level in LEVELS:
        for seed in range(seeds):
            queries = round(level * FULL)
            share = truth(queries)
            correct = round(share * images) if noise is None else source.binomial(images, share)
            points.append(
                Point(level=level, queries=queries, correct=int(correct), images=images, seed=seed)
            )
    return points


def test_a_curve_that_follows_the_law_is_foretold() -> None:
    told = forecast(measured(TRUTH), further=1000)
    assert told.gain == pytest.approx(TRUTH(FULL + 1000) - TRUTH(FULL), abs=0.003)
    assert told.accuracy == pytest.approx(TRUTH(FULL), abs=1e-5)
    assert told.low <= told.gain <= told.high


def test_the_error_on_what_was_held_back_is_small_where_the_law_holds() -> None:
    told = forecast(measured(TRUTH), further=1000)
    assert [one.queries for one in told.held_back] == [200, 500, 1000, 2000]
    assert told.mean_error is not None
    assert told.mean_error_of_no_change is not None
    assert told.mean_error < 0.3 * told.mean_error_of_no_change


def test_a_curve_that_breaks_the_law_shows_a_large_error_on_what_was_held_back() -> None:
    """It is flat up to half of the budget and jumps then."""
    told = forecast(measured(lambda queries: 0.8 if queries > 1500 else 0.5), further=1000)
    assert told.held_back[-1].error == pytest.approx(-0.3, abs=0.02)


def test_a_flat_curve_promises_nothing() -> None:
    told = forecast(measured(lambda _: 0.6), further=1000)
    assert told.gain == pytest.approx(0.0)
    assert told.law.top == pytest.approx(0.6)


def test_a_curve_that_falls_promises_no_gain_and_no_loss() -> None:
    told = forecast(measured(lambda queries: 0.7 - queries / 20_000), further=1000)
    assert told.gain == pytest.approx(0.0)


@settings(max_examples=40, deadline=None)
@given(shares=st.lists(st.integers(0, 50), min_size=3, max_size=7))
def test_no_forecast_leaves_what_is_possible_whatever_was_measured(shares: list[int]) -> None:
    points = [
        Point(level=level, queries=round(level * FULL), correct=share, images=50, seed=0)
        for level, share in zip(LEVELS, shares, strict=False)
    ]
    law = fit(points)
    assert law.gap >= 0.0
    assert law(10**9) <= 1.0
    assert law(FULL) <= law(2 * FULL)


def saturating(queries: float) -> float:
    """A curve that ends sooner than any power: it is no law of ours."""
    return 0.8 - 0.3 * math.exp(-queries / 500)


@pytest.mark.parametrize("truth", [TRUTH, saturating])
def test_the_interval_holds_the_truth_at_least_about_as_often_as_it_says(
    truth: Callable[[float], float],
) -> None:
    gain = truth(FULL + 1000) - truth(FULL)
    told = [
        forecast(measured(truth, images=600, seeds=3, noise=draw), further=1000)
        for draw in range(20)
    ]
    assert sum(one.low <= gain <= one.high for one in told) >= 18


def test_more_test_images_and_seeds_narrow_the_interval() -> None:
    few = forecast(measured(TRUTH, images=200, noise=0), further=1000)
    many = forecast(measured(TRUTH, images=5000, seeds=3, noise=0), further=1000)
    assert many.high - many.low < few.high - few.low


def test_the_same_seed_gives_the_same_interval() -> None:
    points = measured(TRUTH, images=300, seeds=3, noise=1)
    assert forecast(points, further=1000, seed=4) == forecast(points, further=1000, seed=4)


def test_seeds_that_were_not_run_at_every_level_do_not_stop_the_bootstrap() -> None:
    points = [
        point
        for point in measured(TRUTH, images=300, seeds=3)
        if point.seed == 0 or point.level in (0.0, 1.0)
    ]
    assert forecast(points, further=1000).high > 0.0


def test_two_budgets_are_too_few() -> None:
    with pytest.raises(BadInput, match="2 budgets are too few"):
        forecast([p for p in measured(TRUTH) if p.level in (0.0, 1.0)], further=1000)


def test_three_budgets_are_enough_but_leave_the_law_untested() -> None:
    told = forecast([p for p in measured(TRUTH) if p.level in (0.0, 0.1, 1.0)], further=1000)
    assert told.held_back == ()
    assert told.mean_error is None


def row(level: float, *, selector: str, seed: int = 0, method: str = "ours") -> Row:
    """A row of a bench, as it writes it: nothing and everything are bought at random."""
    queries = round(level * FULL)
    is_chosen = 0.0 < level < 1.0
    return Row(
        id=f"{method} {selector} {level} {seed}",
        kind="budget",
        dataset="emoji",
        method=method,
        seed=seed,
        sources=("apple", "google"),
        targets=("windows",),
        views=4 if level else 1,
        fraction=level,
        selector=selector if is_chosen else "random",
        options={},
        steps=420,
        lmd=0.5,
        images=500,
        queries=queries,
        cost_micro_usd=100 * queries,
        accuracies={
            "windows": Counted(correct=round(1000 * TRUTH(queries)), images=1000),
            "known to nobody, target domains": Counted(correct=200, images=1000),
        },
        validation=Counted(correct=90, images=100),
        chosen="average",
        seconds=1.0,
        teacher="embedded",
        fingerprint="sha256:0",
        data_sha256="0",
        command="bench",
        commit="c",
        machine="m",
    )


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    for selector in ("random", "margin"):
        for level in LEVELS:
            if selector == "random" or 0.0 < level < 1.0:
                for seed in range(2):
                    add_row(path, row(level, selector=selector, seed=seed))
    add_row(path, row(0.0, selector="random", method="erm"))
    return path


def test_nothing_and_everything_belong_to_every_selectors_curve(bench: Path) -> None:
    curves = {c.title.selector: c for c in read_curves([bench]) if c.num_levels > 1}
    assert set(curves) == {"random", "margin"}
    assert {curve.num_levels for curve in curves.values()} == {len(LEVELS)}
    assert {len(curve.points) for curve in curves.values()} == {2 * len(LEVELS)}


def test_plan_forecasts_each_curve_and_shows_its_error(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(bench), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["selector"] for one in told] == ["margin", "random"]
    for one in told:
        assert one["queries"] == FULL
        assert one["gain"] == pytest.approx(TRUTH(FULL + 1000) - TRUTH(FULL), abs=0.01)
        assert one["mean_error"] < one["mean_error_of_no_change"]


def test_plan_prints_a_table(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(bench), "--queries", "500"]) == 0
    said = capsys.readouterr().out
    assert "the next 500 queries" in said
    assert "held back" in said
    assert "2,000" in said


def test_plan_measures_on_the_part_that_is_named(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = "known to nobody, target domains"
    assert main(["plan", str(bench), "--part", part, "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["accuracy"] for one in told} == {0.2}


def test_plan_reads_the_folders_of_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [job_folder(tmp_path, budget) for budget in (27, 300, 1000, 2000)]
    assert main(["plan", *map(str, folders), "--json"]) == 0
    (told,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (told["queries"], told["selector"], told["views"]) == (2000, "herding", 2)
    assert len(told["held_back"]) == 1


def job_folder(root: Path, budget: int) -> Path:
    """What a finished job leaves that a forecast reads."""
    folder = root / f"run-{budget}"
    folder.mkdir()
    common = {"data": "pets", "views": 2, "selector": "herding", "steps": 100, "lmd": 0.5}
    meta = {
        "method": "vl2v-adip",
        "targets": ["sketch"],
        "settings": {**common, "budget": budget, "out": str(folder), "seed": 0},
        "seed": 0,
        "teacher": {"model": "clip", "fingerprint": "sha256:0"},
        "queries": budget,
        "scores": {
            "sketch": {"correct": round(500 * TRUTH(budget)), "images": 500},
            "source validation": {"correct": 9, "images": 10},
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no"),
        ("no json\n", "is no row"),
        ("", "no student was measured"),
    ],
)
def test_plan_refuses_what_holds_no_results(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    assert main(["plan", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_plan_refuses_folders_without_a_finished_job_and_says_what_too_few_lack(
    tmp_path: Path, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(tmp_path / "pixels")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["plan", str(tmp_path / "empty")]) == 2
    assert "no folder of a finished job" in capsys.readouterr().err
    few = [str(job_folder(tmp_path, budget)) for budget in (27, 300)]
    assert main(["plan", *few]) == 2
    assert "at 3 budgets or more with all else alike (at most 2)" in capsys.readouterr().err
    assert main(["plan", str(bench), "--part", "moon"]) == 2
    assert "there are known to nobody, target domains, windows" in capsys.readouterr().err
    (tmp_path / "run-27" / "meta.json").write_text("{}")
    assert main(["plan", *few]) == 2
    assert "is not what a finished job writes" in capsys.readouterr().err
