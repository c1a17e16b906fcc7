"""What a run says about the time of its training."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from student.console import Terminal
from student.evaluation.duration import RunClock, say_time
from student.evaluation.processes import Processes
from student.options import Options, TrainingOptions

HOUR = 3600.0
TWO = Processes(count=2, threads=1, cores=2)


def _said(seconds: float, **options: object) -> str:
    text = StringIO()
    say_time(
        seconds,
        Options.of({"method": "vl2v-adip", **options}),
        Terminal(Console(file=text, width=500)),
    )
    return text.getvalue()


def test_hours_are_warned_of_with_smaller_images_and_fewer_steps() -> None:
    assert _said(31 * HOUR).splitlines() == [
        "training vl2v-adip takes about 31 hours on this machine",
        "warning: 5,001 steps at 224 pixels: about 31 hours on this machine; "
        "--image-size 96 --steps 580: about 40 minutes",
    ]


def test_minutes_are_said_without_a_warning() -> None:
    assert _said(40 * 60, compare=True) == (
        "training vl2v-adip, erm and lp-ft takes about 40 minutes on this machine\n"
    )


def test_an_alternative_names_only_what_changes() -> None:
    assert "; --steps 1500: about 38 minutes" in _said(2.1 * HOUR, image_size=64)
    assert "--image-size 96 --steps 100: about 16 hours" in _said(4400 * HOUR)
    tower = {"backbone": "open_clip:ViT-B-32", "steps": 100}
    assert "warning" not in _said(9 * HOUR, **tower)


def test_a_run_says_once_how_long_its_methods_take_together() -> None:
    text = StringIO()
    options = Options.of({"method": "erm", "compare": True})  # two methods
    clock = RunClock(options, TWO, 3, Terminal(Console(file=text, width=200)))
    clock.note("erm", None)
    clock.note("erm", 600.0)
    assert not text.getvalue()
    clock.note("lp-ft", 500.0)
    clock.note("lp-ft", 490.0)
    assert text.getvalue() == "training erm and lp-ft takes about 30 minutes on this machine\n"


def test_methods_that_train_one_after_another_add_up() -> None:
    text = StringIO()
    options = Options.of({"method": "erm", "compare": True})
    alone = Processes(count=1, threads=0, cores=2)
    clock = RunClock(options, alone, 1, Terminal(Console(file=text, width=200)))
    clock.note("erm", 300.0)
    assert text.getvalue() == "training erm and lp-ft takes about 10 minutes on this machine\n"


@pytest.mark.parametrize(
    ("compare", "threads", "expected"),
    [(False, 4, (1, 4)), (True, 1, (2, 1)), (True, 2, (3, 1)), (True, 12, (3, 4))],
)
def test_threads_follow_from_the_options_and_the_machine_alone(
    compare: bool, threads: int, expected: tuple[int, int]
) -> None:
    options = TrainingOptions(method="vl2v-adip", compare=compare, threads=threads, device="cpu")
    processes = Processes.of(options)
    assert (processes.count, processes.threads) == expected


def test_parallel_methods_share_the_cores() -> None:
    three = Processes(count=3, threads=1, cores=2)
    assert three.together([10.0, 10.0, 10.0]) == 15.0
    assert three.together([30.0, 1.0, 1.0]) == 30.0
    assert Processes(count=1, threads=0, cores=2).together([10.0, 5.0]) == 15.0
