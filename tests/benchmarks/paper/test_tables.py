"""Every figure in the tables is the paper's or from reports, and shows what it is the mean of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.paper.__main__ import main
from benchmarks.paper.datasets import DATASETS, HERE
from benchmarks.paper.reports import Report, average_accuracy, dataset_accuracy, read_reports
from benchmarks.paper.tables import published, render
from student.errors import BadInput


def report(target: str, *, dataset: str = "PACS", seed: int = 0, unseen: float = 0.9) -> Report:
    return Report(
        dataset=dataset,
        student="vit",
        views=1,
        method="vl2v-adip",
        target=target,
        seed=seed,
        unseen=unseen,
        validation=0.95,
        images=100,
        teacher="ViT-B-16/openai sha256:1",
        backbone="vit",
        changed=(),
    )


def whole(dataset: str, *, seed: int, unseen: float = 0.9) -> list[Report]:
    """A report of each target of a set."""
    return [
        report(target, dataset=dataset, seed=seed, unseen=unseen)
        for target in DATASETS[dataset].domains
    ]


def test_the_committed_page_is_rendered_without_own_runs() -> None:
    assert (HERE / "TABLES.md").read_text() == render([])


@pytest.mark.parametrize("part", ["vit", "teacher"])
def test_the_papers_averages_are_those_of_its_columns(part: str) -> None:
    for row in published(part):
        mean = sum(row.figures[name] for name in DATASETS) / len(DATASETS)
        assert row.figures["average"] == pytest.approx(mean, abs=0.011)


def test_a_data_set_has_no_figure_until_all_its_targets_have_run() -> None:
    reports = whole("PACS", seed=0)[:3]
    assert str(dataset_accuracy(reports, "PACS", "vl2v-adip")) == "(3 of 4 targets)"
    assert str(dataset_accuracy(reports, "VLCS", "vl2v-adip")) == ""


def test_the_interval_is_students_over_the_seeds_that_have_every_target() -> None:
    reports = [
        *whole("PACS", seed=0, unseen=0.90),
        *whole("PACS", seed=1, unseen=0.92),
        *whole("PACS", seed=2, unseen=0.94),
        *whole("PACS", seed=3, unseen=0.10)[:1],
    ]
    # 4.303 x 0.02 / sqrt(3), two degrees of freedom.
    assert str(dataset_accuracy(reports, "PACS", "vl2v-adip")) == "92.0 ± 5.0 (3 seeds)"


def test_there_is_no_average_until_all_five_data_sets_have_run() -> None:
    reports = [report for name in DATASETS for report in whole(name, seed=0)]
    assert str(average_accuracy(reports, "vl2v-adip")) == "90.0 (1 seed)"
    assert str(average_accuracy(reports, "vl2v-adip", part="validation")) == "95.0 (1 seed)"
    assert str(average_accuracy(reports[:-1], "vl2v-adip")) == ""


def test_own_figures_are_to_the_right_of_the_papers() -> None:
    row = next(
        line
        for line in render(whole("PACS", seed=0)).splitlines()
        if line.startswith("| VL2V-ADiP |")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[7:9] == ["94.94", "90.0 (1 seed)"]
    assert cells[1:3] == ["85.74", ""]


def test_students_of_two_teachers_do_not_share_a_table() -> None:
    first, other = whole("PACS", seed=0)[:2]
    with pytest.raises(BadInput, match="2 teachers"):
        render([first, replace(other, teacher="another sha256:2")])


def test_runs_with_more_views_have_a_section_of_their_own() -> None:
    page = render([replace(report, views=4) for report in whole("PACS", seed=0)])
    assert "## ViT-B/16 student, 4 stored views an image" in page


def write_report(
    out: Path, *, target: str = "photo", method: str = "erm", **changes: object
) -> Path:
    """A run's meta.json where the recipe leaves it, with photo held out; ERM buys no view."""
    settings = {
        **{"backbone": "vit", "views": 1, "image_size": 224, "lr": 5e-5, "align_lr": 5e-5},
        **{"schedule": "constant", "batch_per_domain": 32, "lmd": 0.5, "averaging": "swad"},
        **{"prompts": "class", "steps": 5001, "align_steps": 5001, "eval_every": 200},
    }
    tally = {"correct": 9, "images": 10}
    meta = {
        **{"seed": 0, "method": method, "targets": [target], "settings": settings},
        **{"scores": {target: tally, "source validation": tally}},
        **{"teacher": {"model": "clip", "fingerprint": "sha256:1"}},
        **{"images_trained_on": 20, "embeddings_bought": 0},
        **changes,
    }
    folder = out / "PACS/vit/views-1/photo/seed-0" / method
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    return out


def test_a_run_with_the_papers_settings_lists_no_differences(tmp_path: Path) -> None:
    (read,) = read_reports(write_report(tmp_path))
    assert (read.unseen, read.validation, read.images, read.changed) == (0.9, 0.9, 10, ())


def test_a_run_whose_views_were_not_all_bought_is_marked(tmp_path: Path) -> None:
    reports = read_reports(write_report(tmp_path, method="vl2v-adip", embeddings_bought=13))
    said = "**Not the paper's settings** in these runs: 7 of 20 views not bought."
    assert said in render(reports)


def test_a_report_in_the_wrong_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another run than its folder says"):
        read_reports(write_report(tmp_path, target="sketch"))


def test_a_damaged_report_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "PACS/vit/views-1/photo/seed-0/erm"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{")
    assert main(["--tables", "--out", str(tmp_path)]) == 2
    assert "is not a report of a run" in " ".join(capsys.readouterr().out.split())


def test_the_tables_alone_need_neither_data_nor_vendor(tmp_path: Path) -> None:
    assert main(["--tables", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "TABLES.md").read_text() == render([])
