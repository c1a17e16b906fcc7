"""The parts of an image file are counted exactly, as its decoder reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.fuzz.image_files import noise, png_chunk, saved, with_scans
from teacher_server.errors import ImageRefused
from teacher_server.inference.decode_image import ImageLimits, decode_image
from teacher_server.inference.image_structure import MAX_PARTS, MAX_SCANS, check_structure

LIMITS = ImageLimits(max_bytes=10**8, max_pixels=10**8)
PROGRESSIVE = saved(noise(), "JPEG", progressive=True)
SCANS = PROGRESSIVE.count(b"\xff\xda")
PNG = saved(noise())
GIF = saved(noise(mode="P"), "GIF")
SCREEN = 13 + 3 * (2 << (GIF[10] & 7))


def is_refused(data: bytes) -> bool:
    try:
        check_structure(data)
    except ImageRefused as error:
        return error.code == "invalid_image"
    return False


def test_scans_are_counted_exactly() -> None:
    assert SCANS > 5
    assert not is_refused(with_scans(PROGRESSIVE, MAX_SCANS - SCANS))
    assert is_refused(with_scans(PROGRESSIVE, MAX_SCANS - SCANS + 1))


def test_scans_after_the_end_and_within_segments_are_not_counted() -> None:
    scan = b"\xff\xda\x00\x02"
    assert not is_refused(PROGRESSIVE + scan * 1000)
    thumbnail = scan * 1000
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert not is_refused(PROGRESSIVE[:2] + segment + PROGRESSIVE[2:])


def test_scans_cannot_be_hidden_behind_fill_bytes_garbage_or_restarts() -> None:
    many = with_scans(PROGRESSIVE, 1000)
    start = many.index(b"\xff\xda")
    for hiding in (b"\xff" * 50, b"garbage", b"\xff\xd0\xff\xd7", b"\xff\x00", b"\xff\x01"):
        assert is_refused(many[:start] + hiding + many[start:])


@pytest.mark.parametrize("extra", [0, 1])
def test_chunks_are_counted_exactly(extra: int) -> None:
    # The three scans of the file, and the added scans.
    added = png_chunk(b"abCd", b"") * (MAX_PARTS - 3 + extra)
    assert is_refused(PNG[:33] + added + PNG[33:]) == bool(extra)


@pytest.mark.parametrize("extra", [0, 1])
def test_blocks_before_a_gifs_image_are_counted_exactly(extra: int) -> None:
    assert GIF[SCREEN : SCREEN + 1] == b","
    for comments in (b"!\xfe" + b"\x01c" * (MAX_PARTS - 1 + extra) + b"\0",
                     b"!\xfe\0" * (MAX_PARTS + extra)):  # fmt: skip
        assert is_refused(GIF[:SCREEN] + comments + GIF[SCREEN:]) == bool(extra)


@given(st.sampled_from([PROGRESSIVE, PNG, GIF, b"BM", b"\xff\xd8", b"GIF89a"]), st.binary())
def test_counting_terminates_for_any_bytes(start: bytes, rest: bytes) -> None:
    assert is_refused(start[:40] + rest) in {True, False}


def test_compositing_on_white_in_bands_equals_compositing_at_once() -> None:
    random = np.random.default_rng(0)
    layer = Image.fromarray(random.integers(0, 256, (2100, 1000, 4), np.uint8))
    white = Image.new("RGBA", layer.size, "white")
    whole = Image.alpha_composite(white, layer).convert("RGB")
    decoded = decode_image(saved(layer, compress_level=1), LIMITS)
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(whole))
