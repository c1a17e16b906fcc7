"""The first table of the evidence is of the students that the default delivers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.evidence.choices import single_methods
from benchmarks.evidence.default_method import CHART, default_section
from benchmarks.evidence.lines import Found
from benchmarks.evidence.protocol import JOINT
from tests.benchmarks.evidence.test_choices import choice, rows_of


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        one.model_copy(update={"calibration_errors": dict.fromkeys(one.targets, 0.125)})
        if one.method == JOINT
        else one
        for name in ("digits", "digits-again", "pacs-photo")
        for one in rows_of(name)
    ]
    choices = [
        *(choice("digits", (look,), seed, "erm") for look in ("dots", "noisy") for seed in (0, 1)),
        choice("pacs-photo", ("photo", "photo-seen"), 0, JOINT),
    ]
    images = tmp_path_factory.mktemp("images")
    found = Found(rows={one.id: one for one in rows})
    section = "\n".join(default_section(found, choices, images))
    assert (images / CHART).is_file()
    return section


def _cells(text: str, shift: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {shift} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_default_is_compared_with_labels_alone_and_with_the_best_single_method(
    text: str,
) -> None:
    # On digits it took ERM, which is right on 50 of 100; the joint method is right on 60.
    _, erm, auto, gain, best, *_, runs = _cells(text, "digits: hard looks")
    assert (erm, auto, gain, runs) == ("50.0 ± 0.0", "50.0 ± 0.0", "+0.0 ± 0.0", "4")
    assert best == "-10.0 ± 0.0 (VL2V-ADiP-joint)"
    _, erm, auto, gain, best, *_, runs = _cells(text, "PACS: photo")
    assert (erm, auto, gain, best[:4], runs) == ("50.0", "60.0", "+10.0", "+0.0", "1")


def test_backgrounds_alike_is_no_other_method_where_no_folder_is_one_of_icons() -> None:
    found = Found(rows={one.id: one for one in (*rows_of("pacs-photo"), *rows_of("joint"))})
    alike = "VL2V-ADiP-joint, backgrounds alike"
    assert alike not in [line.title for line in single_methods(found, ("pacs-photo",))]
    assert alike in [line.title for line in single_methods(found, ("headline", "joint"))]


def test_calibration_stands_beside_accuracy_where_rows_have_it(text: str) -> None:
    erm_error, auto_error, _ = _cells(text, "PACS: photo")[-3:]
    assert (erm_error, auto_error) == ("", "12.5")


def test_calibration_is_compared_on_the_runs_in_which_both_have_it(tmp_path: Path) -> None:
    errors = {(JOINT, 0): 0.1, (JOINT, 1): 0.3, ("erm", 1): 0.2}
    rows = [
        one.model_copy(update={"calibration_errors": dict.fromkeys(one.targets, error)})
        if (error := errors.get((one.method, one.seed))) is not None
        else one
        for one in rows_of("pacs-photo")
    ]
    choices = [choice("pacs-photo", ("photo", "photo-seen"), seed, JOINT) for seed in (0, 1)]
    found = Found(rows={one.id: one for one in rows})
    section = "\n".join(default_section(found, choices, tmp_path))
    assert _cells(section, "PACS: photo")[-3:-1] == ["20.0", "30.0"]  # of seed 1 alone
    assert _cells(section, "PACS: mean of domains")[-3:-1] == ["20.0", "30.0"]


def test_a_data_set_without_a_choice_is_not_yet_run(text: str) -> None:
    assert _cells(text, "PACS: sketch")[-1] == "not yet run"
