"""Values for several trackers, of which one may fail."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

import pytest
from rich.console import Console

from student.console import Terminal
from student.errors import BadInput
from student.options import Options
from student.tracking import opened
from student.tracking.tracking import Tracking


class Remembered:
    """A tool that fails from its call number `fails_at` on."""

    def __init__(self, name: str, fails_at: int = 1000) -> None:
        self.name = name
        self.calls: list[tuple[object, ...]] = []
        self._fails_at = fails_at

    def _called(self, *call: object) -> None:
        if len(self.calls) >= self._fails_at:
            message = "no route to https://me:secret@host/api\nand more"
            raise ConnectionError(message)
        self.calls.append(call)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._called(step, dict(values))

    def result(self, values: Mapping[str, float]) -> None:
        self._called("result", dict(values))

    def close(self, *, failed: bool) -> None:
        self._called("close", failed)


def test_queries_and_dollars_stand_beside_every_accuracy() -> None:
    tool = Remembered("tool")
    tracking = Tracking([tool], Terminal(Console(file=StringIO())))
    tracking.paid(queries=18, cost_micro_usd=1800)
    tracking.point("erm", 4, {"validation_accuracy": 0.5})
    tracking.point("erm", 4, {"validation_accuracy": 0.5})
    tracking.point("vl2v", 4, {"validation_accuracy": 0.75})
    tracking.result({"accuracy/erm/d2": 0.25})
    tracking.close()
    tracking.close()
    spent = {"queries": 18, "cost_usd": 0.0018}
    assert tool.calls == [
        (4, {"validation_accuracy/erm": 0.5, **spent}),
        (4, {"validation_accuracy/vl2v": 0.75, **spent}),
        ("result", {"accuracy/erm/d2": 0.25, **spent}),
        ("close", False),
    ]
    assert tracking.losses() == []


def test_a_tracker_that_fails_is_warned_of_once_and_its_values_are_counted() -> None:
    printed = StringIO()
    sound, broken = Remembered("sound"), Remembered("broken", fails_at=1)
    tracking = Tracking([broken, sound], Terminal(Console(file=printed, width=200)))
    for step in range(3):
        tracking.point("erm", step, {"loss": 1.0, "validation_accuracy": 0.5})
    tracking.close(failed=True)
    assert len(sound.calls) == 4
    assert sound.calls[-1] == ("close", True)
    assert len(broken.calls) == 1
    (loss,) = tracking.losses()
    assert loss == (
        "broken failed, and 4 values were not recorded there: no route to https://…@host/api"
    )
    assert printed.getvalue().count("warning: broken failed") == 1
    assert "secret" not in printed.getvalue()


def test_options_are_logged_without_a_password_in_the_vendors_url() -> None:
    options = Options.of({"vendor": "https://me:secret@vendor.example/v1?key=secret", "budget": 7})
    told = opened.settings(options)
    assert told["vendor"] == "https://vendor.example/v1"
    assert told["budget"] == 7
    assert "key_file" not in told


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "find_spec", lambda _: None)
    with pytest.raises(
        BadInput, match=r"--track wandb needs wandb: pip install 'rented-teacher\[w"
    ):
        opened.require_trackers(["wandb"])
