"""One rule from a file's samples to 8-bit RGB, for vendor and client, against values by hand."""

import io
import struct
import zlib
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import student.data.rgb_conversion
import teacher_server.inference.rgb_conversion
from student.data.views import open_rgb
from student.errors import DataError
from teacher_server.inference.decode_image import ImageLimits, decode_image

LIMITS = ImageLimits(max_bytes=2**24, max_pixels=10**7)
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    bits: int, colour: int, width: int, row: bytes, *, plte: bytes = b"", trns: bytes = b""
) -> bytes:
    """A PNG of one row, whose bytes are `row`."""
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)),
            chunk(b"PLTE", plte) if plte else b"",
            chunk(b"tRNS", trns) if trns else b"",
            chunk(b"IDAT", zlib.compress(b"\0" + row)),
            chunk(b"IEND", b""),
        )
    )


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


W = (255, 255, 255)
DEEP = words(0x0000, 0x00FF, 0x40FF, 0x4000, 0xFFFF)
DEEP_RGB = words(*(0x40FF, 0x4000, 0x4000), *(0x4000,) * 3, *(0x1234, 0x5678, 0x9ABC))
# Black, red, green, blue.
COLOURS = bytes((0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255))
FOUR = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
# Alpha of 51 is a fifth: white keeps four fifths, 204.
FADED = [W, (255, 204, 204), (0, 255, 0), (0, 0, 255)]
FADE = bytes((0, 51))


def grey(*values: int) -> list[tuple[int, int, int]]:
    return [(value,) * 3 for value in values]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(1, GREY, 2, b"\x40"), grey(0, 255)),
        (png(1, GREY, 2, b"\x40", trns=words(0)), grey(255, 255)),
        (png(1, GREY, 2, b"\x40", trns=words(1)), grey(0, 255)),
        (png(2, GREY, 4, b"\x1b"), grey(0, 85, 170, 255)),
        (png(2, GREY, 4, b"\x1b", trns=words(0)), grey(255, 85, 170, 255)),
        (png(2, GREY, 4, b"\x1b", trns=words(1)), grey(0, 255, 170, 255)),
        (png(2, GREY, 4, b"\x1b", trns=words(2)), grey(0, 85, 255, 255)),
        (png(4, GREY, 4, b"\x08\xf1"), grey(0, 136, 255, 17)),
        (png(4, GREY, 4, b"\x08\xf1", trns=words(8)), grey(0, 255, 255, 17)),
        (png(8, GREY, 3, b"\x00\x08\xff"), grey(0, 8, 255)),
        (png(8, GREY, 3, b"\x00\x08\xff", trns=words(8)), grey(0, 255, 255)),
        (png(8, GREY, 3, b"\x00\x08\xff", trns=words(9)), grey(0, 8, 255)),
        (png(16, GREY, 5, DEEP), grey(0, 0, 64, 64, 255)),
        (png(16, GREY, 5, DEEP, trns=words(1)), grey(0, 0, 64, 64, 255)),
        (png(16, GREY, 5, DEEP, trns=words(0x4000)), grey(0, 0, 64, 255, 255)),
        (png(16, GREY, 5, DEEP, trns=words(0x00FF)), grey(0, 255, 64, 64, 255)),
        (png(8, RGB, 2, b"\x01\x02\x03\x01\x02\x04"), [(1, 2, 3), (1, 2, 4)]),
        (png(8, RGB, 2, b"\x01\x02\x03\x01\x02\x04", trns=words(1, 2, 3)), [W, (1, 2, 4)]),
        (png(16, RGB, 3, DEEP_RGB), [(64,) * 3, (64,) * 3, (0x12, 0x56, 0x9A)]),
        (png(16, RGB, 3, DEEP_RGB, trns=words(*(0x4000,) * 3)), [(64,) * 3, W, (18, 86, 154)]),
        (png(16, RGB, 3, DEEP_RGB, trns=words(0x1234, 0x5678, 0x9ABC)), [*grey(64, 64), W]),
        (png(16, RGB, 3, DEEP_RGB, trns=words(0x12, 0x56, 0x9A)), [*grey(64, 64), (18, 86, 154)]),
        (png(1, PALETTE, 2, b"\x40", plte=COLOURS[:6]), FOUR[:2]),
        (png(1, PALETTE, 2, b"\x40", plte=COLOURS[:6], trns=FADE), FADED[:2]),
        (png(2, PALETTE, 4, b"\x1b", plte=COLOURS), FOUR),
        (png(2, PALETTE, 4, b"\x1b", plte=COLOURS, trns=FADE), FADED),
        (png(2, PALETTE, 4, b"\x1b", plte=COLOURS, trns=b"\xff\x00"), [FOUR[0], W, *FOUR[2:]]),
        (png(4, PALETTE, 4, b"\x01\x23", plte=COLOURS), FOUR),
        (png(4, PALETTE, 4, b"\x01\x23", plte=COLOURS, trns=FADE), FADED),
        (png(8, PALETTE, 4, b"\x00\x01\x02\x03", plte=COLOURS), FOUR),
        (png(8, PALETTE, 4, b"\x00\x01\x02\x03", plte=COLOURS, trns=FADE), FADED),
        (png(8, GREY_ALPHA, 3, bytes((9, 255, 9, 0, 100, 51))), grey(9, 255, 224)),
        (png(16, GREY_ALPHA, 2, words(0x4000, 0xFFFF, 0x4000, 0x0000)), grey(64, 255)),
        (png(8, RGBA, 2, bytes((1, 2, 3, 255, 0, 100, 255, 51))), [(1, 2, 3), (204, 224, 255)]),
        (png(16, RGBA, 1, words(0x1234, 0x5678, 0x9ABC, 0xFFFF)), [(18, 86, 154)]),
    ],
    ids=map(str, count()),
)
def test_every_mode_of_png_is_read_as_its_samples_say(
    tmp_path: Path, data: bytes, expected: list[tuple[int, int, int]]
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    seen = np.asarray(open_rgb(tmp_path / "a.png"))[0].tolist()
    sold = np.asarray(decode_image(data, LIMITS))[0].tolist()
    assert seen == sold == [list(pixel) for pixel in expected]


def test_vendor_and_client_read_pictures_by_the_same_text() -> None:
    ours, theirs = student.data.rgb_conversion, teacher_server.inference.rgb_conversion
    assert Path(str(ours.__file__)).read_text() == Path(str(theirs.__file__)).read_text()


def test_a_transparent_colour_is_found_in_an_upright_picture_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # half a turn
    image = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], dtype=np.uint16))
    image.save(tmp_path / "a.png", transparency=0x4000, exif=exif)
    assert np.asarray(open_rgb(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 255, 0]


def test_an_interlaced_picture_is_read_like_any_other() -> None:
    plain = png(2, GREY, 4, b"\x1b", trns=words(1))
    header = struct.pack(">IIBBBBB", 4, 1, 2, GREY, 0, 0, 1)
    # Adam7: the first pass has pixel 0, the fourth pixel 2, the sixth pixels 1 and 3.
    passes = zlib.compress(b"\0\x00" + b"\0\x80" + b"\0\x70")
    interlaced = b"".join(
        (
            *(plain[:8], chunk(b"IHDR", header), chunk(b"tRNS", words(1))),
            *(chunk(b"IDAT", passes), chunk(b"IEND", b"")),
        )
    )
    assert np.asarray(decode_image(interlaced, LIMITS))[0, :, 0].tolist() == [0, 255, 170, 255]


def saved(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.array([[0, 0x4000, 0xFFFF]], np.uint16), [0, 64, 255]),
        (np.array([[0, 0x4000, 0xFFFF]], np.int32), [0, 64, 255]),
        (np.array([[0, 0.5, 1.0]], np.float32), [0, 127, 255]),
        (np.array([[0, 64.0, 255.0]], np.float32), [0, 64, 255]),
    ],
)
def test_deep_grey_of_a_tiff_keeps_its_shades(
    tmp_path: Path, samples: NDArray[np.generic], expected: list[int]
) -> None:
    path = saved(Image.fromarray(samples), tmp_path / "a.tif")
    assert np.asarray(open_rgb(path))[0, :, 0].tolist() == expected


def test_a_tiff_whose_white_is_zero_is_not_seen_as_its_negative(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 0x4000, 0xFFFF]], np.uint16))
    out = io.BytesIO()
    image.save(out, "TIFF")
    # The photometric tag is a short, 1 (black is zero); make it 0.
    entry = struct.pack("<HHI", 262, 3, 1)
    data = out.getvalue().replace(entry + b"\1\0", entry + b"\0\0")
    assert data != out.getvalue()
    (tmp_path / "a.tif").write_bytes(data)
    assert np.asarray(open_rgb(tmp_path / "a.tif"))[0, :, 0].tolist() == [255, 191, 0]


@pytest.mark.parametrize(
    "samples",
    [
        np.array([[0, 70_000]], np.int32),
        np.array([[-5, 100]], np.int32),
        np.array([[-0.5, 1.0]], np.float32),
        np.array([[0.0, 4000.0]], np.float32),
    ],
)
def test_samples_without_an_agreed_range_are_refused(
    tmp_path: Path, samples: NDArray[np.generic]
) -> None:
    path = saved(Image.fromarray(samples), tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif cannot be read as an image: its grey levels"):
        open_rgb(path)


def test_premultiplied_grey_is_laid_over_white() -> None:
    image = Image.new("LA", (1, 1), (100, 51)).convert("La")
    rgb = student.data.rgb_conversion.load_rgb(image, lambda: pytest.fail("no need to read twice"))
    assert rgb.getpixel((0, 0)) == (224, 224, 224)


def test_an_inverted_cmyk_picture_keeps_its_colours(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path / "a.jpg")
    red, green, blue = np.asarray(open_rgb(path))[0, 0].tolist()
    assert red > 245
    assert max(green, blue) < 10
