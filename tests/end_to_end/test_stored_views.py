"""Training whose views are in a store on the network: an S3 server."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from tests.end_to_end.conftest import RunningVendor, invoke
from tests.end_to_end.test_shards import spent
from tests.support.s3_server import s3_server

TRAINED_ON = 2 * 3 * 4  # two source styles x three classes x four of five emoji
QUERIES = TRAINED_ON + 3  # one view of each image, one prompt of each class
OPTIONS = (
    *("--budget", "1000", "--method", "vl2v-adip", "--target-domain", "outline", "--steps", "3"),
    *("--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4", "--threads", "1"),
    *("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32"),
)


def command(vendor: RunningVendor, emoji: Path, folder: Path, *more: str) -> tuple[str, ...]:
    return (
        *("distill-client", "--data", str(emoji), "--vendor", vendor.url, *OPTIONS),
        *("--cache", str(folder / "cache"), *more),
    )


def test_views_in_a_store_give_the_student_that_views_in_a_file_give(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)

    def student(name: str, *more: str) -> bytes:
        out = tmp_path / name
        invoke(*command(vendor, emoji, tmp_path, "--out", str(out), *more), key=key)
        assert (out / "pixels").exists() != bool(more)
        return (out / "student.safetensors").read_bytes()

    with s3_server() as bucket:
        stored = ("--pixels", f"{bucket('students')}/views")
        first = student("first", *stored)
        written = fsspec.filesystem("s3").find("students/views", detail=True)
        # Training images and measured ones: a table each, of an archive and three files about it.
        assert len(written) == 8
        assert student("again", *stored) == first
        fsspec.filesystem("s3").invalidate_cache()
        assert fsspec.filesystem("s3").find("students/views", detail=True) == written
    assert student("of-a-file") == first
    assert spent(vendor, key) == QUERIES


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_store_that_cannot_be_used_is_refused_before_anything_is_bought(
    more: tuple[str, ...], vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key = vendor.new_key(1_000)
    asked = ("--out", str(tmp_path / "out"), "--pixels", "nosuch://views", *more)
    done = invoke(*command(vendor, emoji, tmp_path, *asked), key=key, exit_code=2)
    assert "--pixels nosuch://views cannot be used" in done.stderr
    assert spent(vendor, key) == 0
