"""Bench rows and finished runs are read into the right curves, which the forecast reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from student.bench.rows import add_row
from student.cli import main
from student.data.split import VALIDATION
from student.forecast.curves import read_curves
from student.training.stored_names import LATER_DEFAULTS
from tests.support.measured_curves import FULL, LEVELS, TRUTH, row, run_folder


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


@pytest.mark.parametrize("field", ["recipe", "data_sha256", "fingerprint"])
def test_students_of_other_settings_images_or_teachers_are_left_out_of_a_curve(
    field: str, tmp_path: Path
) -> None:
    for level in LEVELS:
        for value in ("one", "other"):
            add_row(tmp_path / "rows.jsonl", row(level, more={field: value}))
    curves = [curve for curve in read_curves([tmp_path / "rows.jsonl"]) if curve.num_levels > 1]
    assert [len(curve.points) for curve in curves] == [len(LEVELS), len(LEVELS)]


@pytest.mark.parametrize(
    ("recipes", "points"), [(["a"], {"a": 7}), (["a", "b"], {"": 4, "a": 4, "b": 4})]
)
def test_a_row_without_a_recipe_joins_the_only_possible_curve(
    recipes: list[str], points: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    for level in (0.0, 0.1, 0.25, 1.0):
        add_row(path, row(level))
    for recipe in recipes:
        for level in (0.05, 0.5, 1.0) if len(recipes) == 1 else (0.0, 0.05, 0.5, 1.0):
            add_row(path, row(level, seed=1, more={"recipe": recipe}))
    found = {json.loads(curve.title.rest)[-1]: curve for curve in read_curves([path])}
    assert {recipe: len(curve.points) for recipe, curve in found.items()} == points


def test_each_curve_is_forecast_with_its_error(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast", str(bench), "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["selector"] for entry in printed] == ["margin", "random"]
    for entry in printed:
        assert entry["queries"] == FULL
        assert entry["gain"] == pytest.approx(TRUTH(FULL + 1000) - TRUTH(FULL), abs=0.01)
        assert entry["mean_error"] < entry["mean_error_of_no_change"]


def test_the_forecast_is_printed_as_a_table(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast", str(bench), "--queries", "500"]) == 0
    printed = capsys.readouterr().out
    assert "the next 500 queries" in printed
    assert "held back" in printed
    assert "2,000" in printed


def test_accuracy_is_measured_on_the_named_part(
    bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = "known to nobody, target domains"
    assert main(["forecast", str(bench), "--part", part, "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {entry["accuracy"] for entry in printed} == {0.2}


@pytest.mark.parametrize("option", [[], ["--part", VALIDATION]])
def test_accuracy_is_measured_on_validation_if_nothing_is_held_out(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    for level in LEVELS:
        add_row(rows, row(level).model_copy(update={"targets": (), "accuracies": {}}))
    runs = [run_folder(tmp_path, queries, targets=()) for queries in (27, 300, 1000)]
    assert main(["forecast", str(rows), *map(str, runs), "--json", *option]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(entry["method"], entry["accuracy"]) for entry in printed] == [
        *(("vl2v-adip-1q", 0.9), ("vl2v-adip", round(TRUTH(1000), 2)))
    ]
    assert all(
        str(curve.title).endswith("nothing held out") for curve in read_curves([rows, *runs])
    )


def test_output_folders_of_runs_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run_folder(tmp_path, budget) for budget in (27, 300, 1000, 2000)]
    assert main(["forecast", *map(str, folders), "--json"]) == 0
    (printed,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (printed["queries"], printed["selector"], printed["views"]) == (2000, "herding", 2)
    assert len(printed["held_back"]) == 1


def test_runs_of_before_an_option_and_of_today_are_on_one_curve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run_folder(tmp_path, budget) for budget in (27, 300, 1000)]
    meta = json.loads((folders[-1] / "meta.json").read_text())
    meta["settings"] |= LATER_DEFAULTS
    (folders[-1] / "meta.json").write_text(json.dumps(meta))
    assert main(["forecast", *map(str, folders)]) == 0


def test_seeds_of_one_budget_are_one_level_though_the_repeats_of_each_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = [
        run_folder(tmp_path, queries, budget=50_000, seed=seed)
        for seed, queries in enumerate((2240, 2249, 2250))
    ]
    assert main(["forecast", *map(str, everything)]) == 2
    assert "3 budgets or more with all else alike (at most 1)" in capsys.readouterr().err
    less = [run_folder(tmp_path, queries, seed=0) for queries in (16, 18, 27, 300)]
    (curve,) = read_curves([*everything, *less])
    assert {(point.level, point.queries) for point in curve.points} == {
        *((16, 16), (16, 18), (27, 27), (300, 300), (2240, 2240), (2240, 2249), (2240, 2250))
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        ("no json\n", "is not a row"),
        ("", "no student was measured"),
    ],
)
def test_a_forecast_refuses_paths_without_results(
    content: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    assert main(["forecast", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_folders_without_a_finished_run_and_too_few_budgets_are_refused(
    tmp_path: Path, bench: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast", str(tmp_path / "pixels")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["forecast", str(tmp_path / "empty")]) == 2
    assert "not the output folder of a finished run" in capsys.readouterr().err
    few = [str(run_folder(tmp_path, budget)) for budget in (27, 300)]
    assert main(["forecast", *few]) == 2
    assert "at 3 budgets or more with all else alike (at most 2)" in capsys.readouterr().err
    assert main(["forecast", str(bench), "--part", "moon"]) == 2
    assert "known to nobody, target domains, source validation, windows" in capsys.readouterr().err
    (tmp_path / "run-27-0" / "meta.json").write_text("{}")
    assert main(["forecast", *few]) == 2
    assert "of a finished run:" in capsys.readouterr().err
