"""The commands of the recipe train as the paper does, and its estimate counts what they buy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.paper.__main__ import main
from benchmarks.paper.cost import estimate, published_queries
from benchmarks.paper.datasets import DATASETS
from benchmarks.paper.recipe import STUDENTS, Recipe
from student.data.folder.image_folder import discover
from student.options import TrainingOptions
from student.training.methods import METHODS, method_of
from tests.support.pacs import CLASSES, DOMAINS, TRAINED_ON, write_pacs
from tests.support.pictures import write_picture


def recipe(tmp_path: Path, name: str = "PACS", *, student: str = "vit") -> Recipe:
    return Recipe(
        dataset=DATASETS[name],
        data=tmp_path / "PACS",
        student=student,
        methods=("vl2v-adip", "erm"),
        targets=tuple(DATASETS[name].domains),
        seeds=(0,),
        views=1,
        out=tmp_path / "out",
    )


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("name", DATASETS)
def test_a_student_is_trained_with_the_papers_settings(
    tmp_path: Path, name: str, student: str
) -> None:
    options = next(recipe(tmp_path, name, student=student).runs()).read_options()
    used = method_of("vl2v-adip", options.training).settings_for(options.training)
    steps, eval_every = (15001, 1000) if name == "DomainNet" else (5001, 200)
    assert used == TrainingOptions(  # every other field stands at the paper's value
        method="vl2v-adip",
        backbone=options.training.backbone,
        steps=steps,
        align_steps=steps,
        eval_every=eval_every,
        weights="hub",
        device="cuda",
    )
    assert (used.lr, used.align_lr, used.schedule) == (5e-5, 5e-5, "constant")
    assert (used.lmd, used.averaging, used.batch_per_domain) == (0.5, "swad", 32)
    assert options.purchase.prompts == "class"
    assert options.data.image_size == 224


def test_the_backbones_are_those_of_the_timm_and_torchvision_that_the_code_pins(
    tmp_path: Path,
) -> None:
    used = {
        student: next(recipe(tmp_path, student=student).runs()).read_options().training.backbone
        for student in STUDENTS
    }
    assert used == {
        "vit": "vit_base_patch16_224.augreg_in21k_ft_in1k",
        "resnet50": "resnet50.tv_in1k",
    }


def test_a_students_options_file_keeps_the_methods_own_options(tmp_path: Path) -> None:
    options = next(recipe(tmp_path).runs()).read_options()
    assert method_of("vl2v-adip-1q", options.training) == METHODS["vl2v-adip-1q"]


def test_extra_options_override_those_of_the_recipe(tmp_path: Path) -> None:
    run = next(replace(recipe(tmp_path), options=("--steps", "7")).runs())
    assert run.read_options().training.steps == 7
    assert run.read_options().training.align_steps == 5001


def test_methods_with_the_same_images_run_one_after_another(tmp_path: Path) -> None:
    runs = list(replace(recipe(tmp_path), seeds=(0, 1)).runs())
    assert len(runs) == len(DOMAINS) * 2 * 2
    assert [run.method for run in runs[:2]] == ["vl2v-adip", "erm"]
    assert runs[0].place == runs[1].place != runs[2].place


def test_the_estimate_counts_an_image_once_for_all_targets_and_methods(tmp_path: Path) -> None:
    write_pacs(tmp_path)
    # The same image in another domain: its embedding is bought once.
    write_picture(tmp_path / "PACS/photo/dog/copy.png", 0)
    protocol = recipe(tmp_path)
    counted = estimate(protocol, discover(protocol.data))
    assert counted.views <= TRAINED_ON + 1
    assert estimate(replace(protocol, views=3), discover(protocol.data)).views == 3 * counted.views
    assert counted.prompts == len(CLASSES)
    assert counted.fresh == len(DOMAINS) * published_queries(steps=5001, sources=3)


def test_further_seeds_buy_only_images_that_no_earlier_seed_trained_on(tmp_path: Path) -> None:
    write_pacs(tmp_path)
    protocol = recipe(tmp_path)
    few, more = (
        estimate(replace(protocol, seeds=seeds), discover(protocol.data))
        for seeds in ((0,), (0, 1, 2))
    )
    assert few.views < more.views <= more.images
    assert more.fresh == 3 * few.fresh


def test_domain_prompts_are_counted_by_domain(tmp_path: Path) -> None:
    write_pacs(tmp_path)
    protocol = replace(recipe(tmp_path), options=("--prompts", "domain"))
    assert estimate(protocol, discover(protocol.data)).prompts == len(DOMAINS) * len(CLASSES)


def test_the_published_code_queries_every_image_of_every_step() -> None:
    assert published_queries(steps=5001, sources=3) == 960_192
    assert published_queries(steps=15001, sources=5) == 4_800_320


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--methods", "magic"), "no method magic"),
        (("--targets", "photos"), "PACS has no domain photos"),
        (("--student", "vit-huge"), "no student vit-huge: vit, resnet50, or a TOML file"),
        (("--views", "0"), "--views must be at least 1"),
        (("--", "--seed", "3"), "--seed cannot follow --"),
        (("--", "--budget=3"), "--budget=3 cannot follow --"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    write_pacs(tmp_path)
    command = ["--dataset", "PACS", "--root", str(tmp_path), "--out", str(tmp_path / "out"), *more]
    assert main(command, execute=lambda _: pytest.fail("a command ran")) == 2
    assert said in " ".join(capsys.readouterr().out.split())


def test_without_a_key_the_queries_are_counted_and_the_price_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_API_KEY", raising=False)
    write_pacs(tmp_path)
    assert main(["--dataset", "PACS", "--root", str(tmp_path), "--seeds", "0"]) == 0
    said = capsys.readouterr().out
    assert "the price is not known: no API key" in said
    assert f"{TRAINED_ON + len(CLASSES)}" in said
    assert "$" not in said


def test_a_command_that_fails_ends_the_recipe_with_its_exit_code(tmp_path: Path) -> None:
    write_pacs(tmp_path)
    command = ["--dataset", "PACS", "--root", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main([*command, "--budget", "42"], execute=lambda _: 5) == 5
    assert not list((tmp_path / "out").rglob("meta.json"))
