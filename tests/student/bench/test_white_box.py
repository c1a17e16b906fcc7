"""Grids with the teacher's own tower are bought, trained and reported like others."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.bench.rows import read_rows
from student.errors import BadInput
from tests.support.ledger_vendor import LedgerVendor
from tests.support.pictures import write_domains
from tests.support.small_grid import grid, make, run
from tests.support.tiny_clip import TinyClip, write_clip

TEXTS, TRAINED_ON = 2, 16


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


@pytest.fixture
def clip(tmp_path: Path) -> TinyClip:
    return write_clip(tmp_path / "clip")


def test_the_white_box_method_shares_a_purchase_with_other_runs(pets: Path, clip: TinyClip) -> None:
    vendor = LedgerVendor()
    tower = clip.options
    runs = [
        run("vl2v-adip-1q"),
        run("vl2v-sd", options=tower),
        run("vl2v-sd", options={**tower, "wise_ft": 0.5}),
        run("clip-ft", options=tower),
        run("erm", options=tower),
    ]
    found = list(read_rows(make(grid(pets, runs), vendor)).values())
    assert [row.method for row in found] == ["vl2v-adip-1q", "vl2v-sd", "vl2v-sd", "clip-ft", "erm"]
    assert vendor.spent == TEXTS + TRAINED_ON
    assert [row.queries - TEXTS for row in found] == [16, 16, 16, 0, -TEXTS]
    assert found[2].options == {**tower, "wise_ft": 0.5}
    assert all(row.accuracies["d2"].images == 10 for row in found)


def test_a_method_that_the_network_does_not_support_stops_the_grid_before_any_request(
    pets: Path, clip: TinyClip
) -> None:
    vendor = LedgerVendor()
    for unfit, message in (
        (run("vl2v-sd"), "vl2v-sd trains the teacher's own image tower"),
        (run("vl2v-adip-1q", options=clip.options), "use --method vl2v-sd or clip-ft"),
        (run("vl2v-sd", options={**clip.options, "weights": "wheel"}), "come from a file"),
    ):
        with pytest.raises(BadInput, match=message):
            make(grid(pets, [run("erm"), unfit]), vendor)
    assert not vendor.seen


def test_a_tower_of_another_embedding_space_is_refused_before_purchase(
    pets: Path, tmp_path: Path
) -> None:
    vendor = LedgerVendor()
    wide = write_clip(tmp_path / "wide", dim=16)
    with pytest.raises(BadInput, match="gives 16 numbers an image and the vendor's model 8"):
        make(grid(pets, [run("vl2v-sd", options=wide.options)]), vendor)
    assert vendor.spent == 0
