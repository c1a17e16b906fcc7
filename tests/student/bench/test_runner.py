"""A grid buys once, trains the missing runs, and can be interrupted anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from student.bench import runner
from student.bench.constants import ZERO_SHOT
from student.bench.rows import read_rows
from student.bench.run import Grid
from student.bench.runner import missing_runs, recipe
from student.bench.worker import Outcome, Shared, Task, Trainer
from student.data.folder.image_folder import discover
from student.data.split import VALIDATION
from student.errors import BadInput, PlanExceedsBudget, PurchaseError, TrainingError
from student.forecast.curves import read_curves
from tests.support.ledger_vendor import LedgerVendor, model_facts, problem
from tests.support.pictures import write_domains, write_picture
from tests.support.small_grid import grid, make, run, settings

TEXTS = 2
TRAINED_ON = 2 * 2 * 4  # two source domains, two classes, four of five pictures


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


def test_what_two_runs_share_is_bought_once_and_counted_for_each(pets: Path) -> None:
    vendor = LedgerVendor()
    rows = make(grid(pets, [run("kd"), run("vl2v-adip-1q"), run("erm")]), vendor)
    assert vendor.spent == TEXTS + TRAINED_ON
    found = {row.method: row for row in read_rows(rows).values()}
    assert found["kd"].queries == found["vl2v-adip-1q"].queries == TEXTS + TRAINED_ON
    assert found["vl2v-adip-1q"].cost_micro_usd == 100 * (TEXTS + TRAINED_ON)
    assert (found["erm"].queries, found["erm"].fingerprint) == (0, "none")


def test_a_row_records_its_recipe_and_scores_every_part(pets: Path) -> None:
    (found,) = read_rows(make(grid(pets, [run(options={"lmd": 0.7})]), LedgerVendor())).values()
    assert (found.command, found.commit) == ("the command", "the commit")
    assert (found.options, found.lmd, found.steps) == ({"lmd": 0.7}, 0.7, 2)
    assert (found.sources, found.targets) == (("d0", "d1"), ("d2",))
    assert (found.images, found.accuracies["d2"].images, found.validation.images) == (16, 10, 4)
    assert found.calibration_errors.keys() == {VALIDATION, "d2"}
    assert all(0 <= error <= 1 for error in found.calibration_errors.values())


def test_two_grids_with_different_settings_make_two_curves(pets: Path) -> None:
    runs = [
        run("vl2v-adip-1q", fraction=share, seed=seed)
        for share in (0.0, 0.5, 1.0)
        for seed in (0, 1)
    ]
    vendor = LedgerVendor()
    make(grid(pets, runs), vendor)
    rows = make(grid(pets, runs, lr=1e-3), vendor)
    curves = [curve for curve in read_curves([rows]) if curve.num_levels > 1]
    assert [len(curve.points) for curve in curves] == [len(runs), len(runs)]


def test_the_runs_of_a_curve_share_a_recipe() -> None:
    base = settings(Path("pets"))
    alike = [
        run("vl2v-adip-1q"),
        run("vl2v-adip-1q", seed=1, target="d1"),
        run("vl2v-adip-1q", fraction=0.5, selector="margin", views=2),
        run("vl2v-adip-1q", fraction=0.0),
    ]
    assert len({recipe(each, base) for each in alike}) == 1
    others = [run("vl2v-adip-1q", options={"lmd": 0.7}), run("kd"), run("erm"), run(ZERO_SHOT)]
    bases = [settings(Path("pets"), **more) for more in ({"backbone": "x"}, {"image_size": 24})]
    assert len({recipe(each, base) for each in [*alike, *others]}) == 5
    assert len({recipe(run("vl2v-adip-1q"), options) for options in [base, *bases]}) == 3


def test_erm_alone_needs_no_vendor(pets: Path) -> None:
    vendor = LedgerVendor()
    assert len(read_rows(make(grid(pets, [run("erm")]), vendor))) == 1
    assert not vendor.seen


def test_a_run_with_a_row_is_not_repeated_and_sends_no_request(pets: Path) -> None:
    vendor = LedgerVendor()
    bench_grid = grid(pets, [run(seed=0), run(seed=1)])
    rows = make(replace(bench_grid, runs=bench_grid.runs[:1]), vendor)
    assert missing_runs(bench_grid, rows) == [run(seed=1)]
    before = rows.read_bytes()
    make(bench_grid, vendor)
    assert rows.read_bytes().startswith(before)
    asked = len(vendor.seen)
    make(bench_grid, vendor)
    assert (len(read_rows(rows)), len(vendor.seen)) == (2, asked)


def test_rows_of_other_images_are_not_reported_for_these_images(pets: Path) -> None:
    vendor = LedgerVendor()
    rows = make(grid(pets, [run()]), vendor)
    before, asked = rows.read_bytes(), len(vendor.seen)
    write_picture(pets / "d0" / "c0" / "new.png", 99)
    with pytest.raises(BadInput, match=r"rows\.jsonl has results of other images.*bought"):
        make(grid(pets, [run()]), vendor)
    assert (rows.read_bytes(), len(vendor.seen)) == (before, asked)


def test_rows_of_another_teacher_are_refused_before_anything_is_bought(pets: Path) -> None:
    vendor, other = LedgerVendor(), LedgerVendor()
    make(grid(pets, [run(), run("erm")]), vendor)
    other.model = model_facts(weights="cd" * 32)
    with pytest.raises(BadInput, match=r"results of another teacher .*nothing was bought"):
        make(grid(pets, [run(seed=1)]), other)
    assert other.spent == 0
    make(grid(pets, [run(seed=1)]), vendor)


def test_a_bigger_fraction_is_trained_on_a_superset_of_a_smaller_fraction(pets: Path) -> None:
    vendor = LedgerVendor()
    shares = [0.0, 0.25, 0.5, 1.0]
    rows = make(grid(pets, [run("vl2v-adip-1q", fraction=share) for share in shares]), vendor)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert [row.queries - TEXTS for row in read_rows(rows).values()] == [0, 4, 8, 16]


def test_a_single_fraction_costs_no_more_than_its_images(pets: Path) -> None:
    vendor = LedgerVendor()
    make(grid(pets, [run("vl2v-adip-1q", fraction=0.25, views=2, selector="herding")]), vendor)
    assert vendor.spent == TEXTS + 2 * 4


def test_a_selector_in_rounds_is_replayed_on_a_purchase_of_all_images(pets: Path) -> None:
    vendor = LedgerVendor()
    rows = make(grid(pets, [run("vl2v-adip-1q", fraction=0.5, selector="margin")]), vendor)
    assert vendor.spent == TEXTS + TRAINED_ON
    assert [row.queries for row in read_rows(rows).values()] == [TEXTS + 8]


def test_a_grid_beyond_the_budget_buys_nothing_at_all(pets: Path) -> None:
    vendor = LedgerVendor()
    with pytest.raises(PlanExceedsBudget, match="18 queries and the budget has 17"):
        make(grid(pets, [run()], budget=17), vendor)
    assert vendor.spent == 0


def test_a_dry_run_requests_the_prices_and_nothing_else(pets: Path) -> None:
    vendor = LedgerVendor()
    rows = make(grid(pets, [run()], dry_run=True), vendor)
    assert (vendor.spent, rows.exists()) == (0, False)


def test_a_vendor_that_stops_selling_stops_the_grid_before_training(pets: Path) -> None:
    vendor = LedgerVendor()
    vendor.faults.extend([lambda *_: problem(402, "budget_exhausted")] * 20)
    with pytest.raises(PurchaseError):
        make(grid(pets, [run()]), vendor)
    assert not (pets.parent / "out/rows.jsonl").exists()


def test_the_zero_shot_teacher_is_queried_for_every_test_image(pets: Path) -> None:
    vendor = LedgerVendor()
    (found,) = read_rows(make(grid(pets, [run(ZERO_SHOT)]), vendor)).values()
    assert vendor.spent == found.queries == TEXTS + 10 + 4
    assert (found.accuracies["d2"].images, found.steps, found.chosen) == (10, 0, "none")


def test_fewer_views_of_a_rich_purchase_train_as_if_no_more_had_been_bought(pets: Path) -> None:
    poor = make(grid(pets, [run(views=2)]), LedgerVendor())
    rich_home = write_domains(pets.parent / "rich" / "pets")
    rich = make(grid(rich_home, [run(views=3), run(views=2)]), LedgerVendor())
    (alone,) = read_rows(poor).values()
    beside = read_rows(rich)[alone.id]
    assert beside.accuracies == alone.accuracies
    assert (beside.queries, beside.validation) == (alone.queries, alone.validation)


def test_another_process_counts_the_same_answers_as_this_one(pets: Path) -> None:
    vendor = LedgerVendor()
    runs = [run("vl2v-adip-1q")]
    alone = read_rows(make(grid(pets, runs), vendor))
    (pets.parent / "out/rows.jsonl").unlink()
    beside = read_rows(make(grid(pets, runs), vendor, processes=2))
    assert {key: row.accuracies for key, row in beside.items()} == {
        key: row.accuracies for key, row in alone.items()
    }


def test_child_processes_train_on_the_folder_as_the_parent_has_read_it(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is hashed once: it is not there any more when the child processes begin."""
    usual = runner._outcomes

    def without_the_folder(*arguments: Any) -> Any:
        pets.rename(pets.with_name("away"))
        return usual(*arguments)

    monkeypatch.setattr(runner, "_outcomes", without_the_folder)
    rows = make(grid(pets, [run("erm"), run("kd")]), LedgerVendor(), processes=2)
    assert len(read_rows(rows)) == 2


def test_a_checkpoint_is_kept_until_the_row_is_written_and_no_longer(pets: Path) -> None:
    bench_grid: Grid = grid(pets, [run("erm")])
    shared = Shared(grid=bench_grid, catalogue=discover(pets), tables={}, sold={})
    Trainer(shared).train(Task(run=run("erm"), keys=()))
    running = pets.parent / "out/running"
    assert [path.name for path in running.iterdir()] == list(bench_grid.ids())
    make(bench_grid, LedgerVendor())
    assert not list(running.iterdir())


def test_a_run_that_cannot_be_trained_is_named_and_the_others_follow(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Trainer.train

    def train(trainer: Trainer, task: Task) -> Outcome:
        if task.run.seed == 0:
            message = "the loss is nan"
            raise TrainingError(message)
        return usual(trainer, task)

    monkeypatch.setattr(Trainer, "train", train)
    runs = [run("erm", seed=0), run("erm", seed=1)]
    with pytest.raises(TrainingError, match=r"1 of 2 runs could not be trained .*the loss is nan"):
        make(grid(pets, runs), LedgerVendor())
    (row,) = read_rows(pets.parent / "out/rows.jsonl").values()
    assert row.seed == 1
