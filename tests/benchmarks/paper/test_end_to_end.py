"""The paper's recipe from an estimate to a filled table, on a small folder laid out as PACS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from benchmarks.paper.__main__ import main
from benchmarks.paper.reports import read_reports
from student.cli import main as distill_client
from student.models.saved import load_student
from teacher_server.ledger.ledger import Ledger
from tests.support.pacs import (
    CLASSES,
    DOMAINS,
    STUDENT,
    TRAINED_ON,
    clip_vendor,
    write_pacs,
)

QUICK = ("--steps", "2", "--align-steps", "2", "--eval-every", "1")
BUDGET = TRAINED_ON + len(CLASSES)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The folders, vendor and key of a recipe's run; `asked` are its `distill-client` commands."""

    root: Path
    out: Path
    student: Path
    ledger: Ledger
    key_id: str
    asked: list[Sequence[str]] = field(default_factory=list)

    def run(self, *more: str, quick: Sequence[str] = QUICK) -> int:
        """Run `python -m benchmarks.paper` with its commands in this process."""

        def execute(command: Sequence[str]) -> int:
            self.asked.append(command)
            assert command[0] == "distill-client"
            return distill_client(command[1:])

        return main(
            [
                *("--dataset", "PACS", "--root", str(self.root), "--student", str(self.student)),
                *("--methods", "vl2v-adip", "--seeds", "0", "--out", str(self.out)),
                *more,
                *("--", *quick),
            ],
            execute=execute,
        )

    @property
    def spent(self) -> int:
        return self.ledger.keys.get(self.key_id).spent_units


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("paper")
    student = folder / "tiny.toml"
    student.write_text(STUDENT)
    with (
        pytest.MonkeyPatch.context() as environment,
        clip_vendor(folder, budget=1_000) as (url, key, ledger),
    ):
        environment.setenv("TEACHER_URL", url)
        environment.setenv("TEACHER_API_KEY", key.token)
        yield Desk(
            root=write_pacs(folder / "data"),
            out=folder / "out",
            student=student,
            ledger=ledger,
            key_id=key.id,
        )


@pytest.fixture(scope="module")
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def done(desk: Desk, threads: None) -> Desk:
    """Every target once, within a budget that is just enough."""
    assert desk.run("--budget", str(BUDGET)) == 0
    return desk


def test_the_estimate_comes_first_and_without_a_budget_nothing_is_bought(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(desk.asked), desk.spent
    assert desk.run() == 0
    assert (len(desk.asked), desk.spent) == before
    said = capsys.readouterr().out
    assert re.search(rf"queries +{BUDGET}, \$0\.0034", said)
    # Four targets, two steps of each stage, two images of each of three sources.
    assert re.search(r"a fresh view at every step +96, \$0\.0096", said)
    assert "nothing was bought: set the maximum number of queries with --budget" in said


def test_the_estimate_is_what_is_paid_and_each_image_is_bought_once_for_all_targets(
    done: Desk,
) -> None:
    assert done.spent == BUDGET


def test_each_domain_is_held_out_by_a_command_of_the_product(done: Desk) -> None:
    held_out = [command[command.index("--target-domain") + 1] for command in done.asked]
    assert held_out == list(DOMAINS)
    sources = [report.target for report in read_reports(done.out)]
    assert sorted(sources) == sorted(DOMAINS)


def test_the_table_shows_own_figures_beside_published_figures(done: Desk) -> None:
    page = (done.out / "TABLES.md").read_text()
    section = page[page.index("## tiny") :]
    row = next(line for line in section.splitlines() if line.startswith("| VL2V-ADiP"))
    mean = 100 * sum(report.unseen for report in read_reports(done.out)) / len(DOMAINS)
    assert f"{mean:.1f} (1 seed)" in row
    assert "| VL2V-ADiP | 85.74 |" in page
    assert "### PACS, target by target" in section


def test_the_table_lists_settings_that_differ_from_the_papers(done: Desk) -> None:
    page = (done.out / "TABLES.md").read_text()
    assert "**Not the paper's settings** in these runs: align_steps 2 (paper: 5001);" in page


def test_every_runs_student_is_kept_and_its_rendered_images_are_deleted(done: Desk) -> None:
    places = [done.out / "PACS/tiny/views-1" / domain / "seed-0" for domain in DOMAINS]
    for place in places:
        assert load_student(place / "vl2v-adip")[1]["classes"] == list(CLASSES)
        assert sorted(path.name for path in place.iterdir()) == ["tensorboard", "vl2v-adip"]


def test_the_same_command_again_trains_and_buys_nothing(done: Desk) -> None:
    before = len(done.asked), done.spent
    assert done.run("--budget", str(BUDGET)) == 0
    assert (len(done.asked), done.spent) == before


def test_runs_with_other_settings_are_not_reused(
    done: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert done.run("--budget", str(BUDGET), quick=("--steps", "3", *QUICK[2:])) == 2
    assert "made with other settings (steps 2, not 3)" in capsys.readouterr().out


def test_a_budget_that_does_not_cover_every_view_is_refused_before_buying(
    done: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(done.asked), done.spent
    assert done.run("--budget", str(BUDGET - 1)) == 3
    assert f"needs {BUDGET} queries" in capsys.readouterr().out
    assert (len(done.asked), done.spent) == before
