"""Options of version 0.1: renamed options are still read, removed options are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from student.errors import BadInput
from student.options.read import read_options
from student.options.renamed_options import RENAMED, renamed_method, renamed_options

OLD = {"exact": "0.25", "drawn": "0.5", "between": "0.75"}


@pytest.mark.parametrize("old", OLD)
def test_an_old_option_on_the_command_line_is_read_with_a_notice_of_its_new_name(
    old: str, caplog: pytest.LogCaptureFixture
) -> None:
    for argv in ([f"--{old}", OLD[old]], [f"--{old}={OLD[old]}"]):
        caplog.clear()
        options = read_options(argv)
        assert getattr(options.training, RENAMED[old]) == float(OLD[old])
        assert options.named == {RENAMED[old]}
        new = RENAMED[old].replace("_", "-")
        assert caplog.messages == [f"--{old} is now called --{new}"]


@pytest.mark.parametrize(("flag", "value"), [("--stand-ins", True), ("--no-stand-ins", False)])
def test_an_old_switch_is_read_both_ways(flag: str, *, value: bool) -> None:
    assert read_options([flag]).training.text_targets is value


def test_an_old_option_in_the_environment_is_read_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DISTILL_EXACT", "0.25")
    monkeypatch.setenv("DISTILL_STAND_INS", "true")
    options = read_options([])
    assert (options.training.clean_prob, options.training.text_targets) == (0.25, True)
    assert sorted(caplog.messages) == [
        "DISTILL_EXACT is now called DISTILL_CLEAN_PROB",
        "DISTILL_STAND_INS is now called DISTILL_TEXT_TARGETS",
    ]


def test_the_command_line_wins_over_an_old_option_in_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILL_EXACT", "0.25")
    assert read_options(["--clean-prob", "0.5"]).training.clean_prob == 0.5


def test_an_old_option_in_the_file_is_read_with_a_notice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "c.toml").write_text('method = "ours"\nstand-ins = true\ndrawn = 0.5\n')
    training = read_options(["--config", str(tmp_path / "c.toml")]).training
    assert (training.method, training.text_targets) == ("vl2v-adip-1q", True)
    assert training.line_drawing_prob == 0.5
    assert sorted(caplog.messages) == [
        "drawn is now called line_drawing_prob",
        "stand_ins is now called text_targets",
        "the method ours is now called vl2v-adip-1q",
    ]


def test_an_option_in_its_old_and_its_new_spelling_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("exact = 0.5\nclean_prob = 0.5\n")
    with pytest.raises(BadInput, match="exact and clean_prob are the same option"):
        read_options(["--config", str(tmp_path / "c.toml")])


@pytest.mark.parametrize("argv", [["--method", "ours"], ["--method=ours"]])
def test_the_old_name_of_the_method_is_read(argv: list[str]) -> None:
    assert read_options(argv).training.method == "vl2v-adip-1q"


def test_the_old_name_of_the_method_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTILL_METHOD", "ours")
    assert read_options([]).training.method == "vl2v-adip-1q"


@pytest.mark.parametrize(
    "argv",
    [
        ["--mix", "mixup"],
        ["--mix=cutmix"],
        ["--align", "ridge"],
        ["--averaging", "ema"],
    ],
)
def test_a_removed_option_is_refused_with_the_version_and_what_to_do(
    argv: list[str],
) -> None:
    with pytest.raises(BadInput, match=r"left the product after version 0\.1.*: (use|leave)"):
        read_options(argv)


def test_a_removed_option_is_refused_in_the_environment_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text('averaging = "ema"\n')
    with pytest.raises(BadInput, match="averaging ema left the product"):
        read_options(["--config", str(tmp_path / "c.toml")])
    monkeypatch.setenv("DISTILL_MIX", "mixup")
    with pytest.raises(BadInput, match="DISTILL_MIX mixup left the product"):
        read_options([])


def test_the_remaining_value_of_a_removed_option_is_accepted_with_a_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read_options(["--mix", "none", "--align", "sgd", "--steps", "3"]).named == {"steps"}
    assert len(caplog.messages) == 2


def test_stored_options_are_read_by_todays_names_without_a_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stored = {"exact": 0.7, "mix": "none", "align": "ridge", "lmd": 0.9}
    assert renamed_options(stored) == {"clean_prob": 0.7, "align": "ridge", "lmd": 0.9}
    assert (renamed_method("ours"), renamed_method("erm")) == ("vl2v-adip-1q", "erm")
    assert caplog.messages == []


def test_the_notice_is_on_stderr_and_the_program_continues(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "student", "--exact", "0.5", "--data", str(tmp_path)]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    first, second = done.stderr.splitlines()
    assert first == "WARNING --exact is now called --clean-prob"
    assert second.startswith("error: no budget")
    assert (done.returncode, done.stdout) == (2, "")


def test_the_file_may_have_a_table_for_each_section(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[data]\ndata = "pets"\n[purchase]\nbudget = 7\n[training]\nexact = 0.5\n[run]\nseed = 3\n'
    )
    options = read_options(["--config", str(tmp_path / "c.toml")])
    assert (options.data.data, options.purchase.budget) == (Path("pets"), 7)
    assert (options.training.clean_prob, options.run.seed) == (0.5, 3)


def test_an_option_in_another_sections_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[training]\nseed = 3\n")
    with pytest.raises(BadInput, match=r"seed belongs in the table \[run\], not \[training\]"):
        read_options(["--config", str(tmp_path / "c.toml")])
