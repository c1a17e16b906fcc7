"""What the doctor says of the domains that are to be held out."""

from __future__ import annotations

from pathlib import Path

from student.data.folder.image_folder import discover
from student.doctor.images import _held_out
from student.options import Options
from tests.support.pictures import write_domains


def test_a_run_that_would_have_no_domain_to_train_on_is_an_error(tmp_path: Path) -> None:
    catalogue = discover(write_domains(tmp_path / "pets"))
    (found,) = _held_out(Options.of({"target_domain": ["d0", "D1", "d2"]}), catalogue)
    assert (found.level, found.detail) == (
        "error",
        "every domain is held out, and none is left to train on",
    )
    assert not list(_held_out(Options.of({"target_domain": ["d0", "d1"]}), catalogue))
