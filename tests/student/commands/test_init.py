"""`distill-client init`: the file that it writes, and what it asks for."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path

import pytest

from student.cli import main
from student.errors import BadInput
from student.options.options import SECTIONS
from student.options.presets import PRESETS
from student.options.read import read_options
from tests.support.pictures import write_picture

IN_THE_FILE = {
    name
    for section in SECTIONS.values()
    for name in section.model_fields
    if name not in ("config", "dry_run")
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DISTILL_BUDGET", "TEACHER_URL"):
        monkeypatch.delenv(variable, raising=False)
    for number, place in enumerate(
        f"{domain}/{name}/{index}.png"
        for domain in ("photo", "Sketch")
        for name in ("cat", "dog")
        for index in range(3)
    ):
        write_picture(tmp_path / "data" / place, number)
    return tmp_path / "data"


class Keyboard(io.StringIO):
    """Standard input of a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_file_names_every_option_with_its_help_and_is_read_by_the_client(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "distill.toml"
    assert main(["init", str(file), "--data", str(data), "--budget", "20"]) == 0
    text = file.read_text()
    assert all(f"\n{name} = " in text or f"\n# {name} " in text for name in IN_THE_FILE)
    assert "# maximum total queries to pay for, over the lifetime of the cache\nbudget = 20" in text
    options = read_options(["--config", str(file)])
    assert (options.data.data, options.purchase.budget) == (data, 20)
    for name, value in PRESETS["quick"].items():
        section = next(one for one in SECTIONS if name in SECTIONS[one].model_fields)
        assert getattr(getattr(options, section), name) == value


def test_every_default_in_the_file_is_the_default_of_the_client(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "distill.toml"
    main(["init", str(file), "--data", str(data)])
    uncommented = "\n".join(
        line.removeprefix("# ") if line.removeprefix("# ").split(" = ")[0] in IN_THE_FILE else line
        for line in file.read_text().splitlines()
    )
    everything = tmp_path / "everything.toml"
    everything.write_text(uncommented)
    assert len(tomllib.loads(uncommented)) == len(SECTIONS)
    read = [read_options(["--config", str(one)]).as_json() for one in (everything, file)]
    assert read[0] == {**read[1], "config": str(everything)}


def test_on_a_terminal_it_asks_for_what_is_not_given(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "distill.toml"
    monkeypatch.setattr("sys.stdin", Keyboard(f"{data}\nsketch\n\n1,500\n"))
    assert main(["init", str(file)]) == 0
    written = tomllib.loads(file.read_text())
    assert written["data"]["target_domain"] == ["Sketch"]
    assert written["purchase"] == {"budget": 1500, "vendor": "http://127.0.0.1:8000"}


def test_elsewhere_it_takes_defaults_and_a_budget_of_one_query_for_each_image_and_class(
    data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "distill.toml"
    assert main(["init", str(file), "--data", str(data)]) == 0
    assert tomllib.loads(file.read_text())["purchase"]["budget"] == 12 + 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target-domain", "painting"), "no domain painting"),
        (("--data", "/nowhere"), "no data folder /nowhere"),
        (("--target-domain", "photo", "--target-domain", "sketch"), "every domain is held out"),
        (("--target-domain", "photo", "--budget", "-5"), "a whole number of queries, not -5"),
    ],
)
def test_what_cannot_be_used_is_refused_and_no_file_is_written(
    more: tuple[str, ...],
    message: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "distill.toml"
    assert main(["init", str(file), "--data", str(data), *more]) == 2
    assert message in capsys.readouterr().err
    assert not file.exists()


def test_a_file_that_exists_is_kept_unless_force_is_given(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "distill.toml"
    file.write_text("seed = 7\n")
    assert main(["init", str(file), "--data", str(data)]) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "seed = 7\n"
    assert main(["init", str(file), "--data", str(data), "--force"]) == 0


def test_a_preset_gives_the_options_that_are_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = read_options(["--preset", "quick", "--steps", "9"])
    assert (quick.training.steps, quick.training.lr, quick.data.image_size) == (9, 1e-3, 64)
    file = tmp_path / "own.toml"
    file.write_text('preset = "paper"\nimage_size = 96\n')
    paper = read_options(["--config", str(file)])
    assert (paper.data.image_size, paper.training.weights) == (96, "hub")
    monkeypatch.setenv("DISTILL_PRESET", "quick")
    assert read_options([]).training.steps == PRESETS["quick"]["steps"]


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="preset: Input should be 'quick' or 'paper'"):
        read_options(["--preset", "slow"])


@pytest.mark.parametrize("key", ["", "sk_a_b"])
def test_the_key_is_asked_for_only_where_it_is_not_set(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", key)
    options = ["--data", str(data), "--target-domain", "Sketch", "--budget", "9"]
    assert main(["init", str(tmp_path / "new.toml"), *options]) == 0
    shown = capsys.readouterr().out
    assert ("export TEACHER_API_KEY" in shown) == (not key)
    assert "sk_a_b" not in shown
