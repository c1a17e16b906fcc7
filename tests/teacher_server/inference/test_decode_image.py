"""Untrusted bytes are decoded to an upright RGB image on white, or refused with a code."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.support.vendor_in_process import b64, data_uri, picture
from teacher_server.errors import ImageRefused
from teacher_server.inference.decode_image import ImageLimits, decode_base64, decode_image

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=100_000)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "JPEG", "WEBP", "GIF"])
def test_each_format_is_decoded_as_pillow_decodes_it(form: str) -> None:
    data = picture(form=form)
    decoded = decode_image(data, LIMITS)
    with Image.open(BytesIO(data)) as image:
        np.testing.assert_array_equal(np.asarray(decoded), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("form", ["TIFF", "ICO", "PPM", "TGA", "PCX", "SGI"])
def test_other_formats_are_refused_though_pillow_reads_them(form: str) -> None:
    with pytest.raises(ImageRefused) as caught:
        decode_image(picture(form=form, size=(32, 32)), LIMITS)
    assert caught.value.code == "invalid_image"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_truncated_file_is_refused_wherever_it_ends(form: str) -> None:
    data = picture(form=form, size=(64, 64))
    for sixteenth in range(1, 16):
        with pytest.raises(ImageRefused):
            decode_image(data[: len(data) * sixteenth // 16], LIMITS)


def test_transparency_is_shown_on_white() -> None:
    layer = Image.new("RGBA", (2, 1))
    layer.putpixel((0, 0), (255, 0, 0, 0))
    layer.putpixel((1, 0), (0, 0, 0, 128))
    decoded = decode_image(saved(layer), LIMITS)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == (127, 127, 127)


def test_a_transparent_palette_colour_is_shown_on_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    decoded = decode_image(saved(image, transparency=0), LIMITS)
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == (0, 0, 255)


def test_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (3, 1), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise
    decoded = decode_image(saved(image, exif=exif), LIMITS)
    assert decoded.size == (1, 3)
    assert decoded.getpixel((0, 0)) == (255, 0, 0)


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)
        assert decode_image(data, LIMITS).getpixel((0, 0)) == (255, 0, 0), form


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert decode_image(saved(Image.new(mode, (5, 5))), LIMITS).mode == "RGB"


def test_cmyk_jpegs_become_rgb() -> None:
    assert decode_image(saved(Image.new("CMYK", (9, 9)), "JPEG"), LIMITS).mode == "RGB"


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    image = Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], dtype=np.uint16))
    decoded = decode_image(saved(image), LIMITS)
    assert [decoded.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (127,) * 3, (255,) * 3]


@pytest.mark.parametrize(("size", "is_fine"), [((400, 250), True), ((401, 250), False)])
def test_the_pixel_limit_holds_to_the_pixel(size: tuple[int, int], *, is_fine: bool) -> None:
    data = saved(Image.new("RGB", size))
    if is_fine:
        assert decode_image(data, LIMITS).size == size
        return
    with pytest.raises(ImageRefused) as caught:
        decode_image(data, LIMITS)
    assert caught.value.code == "image_too_many_pixels"


def test_pixels_are_counted_before_any_is_decoded() -> None:
    # Cut after its header: it could not be decoded, and is refused for its size instead.
    bomb = saved(Image.new("1", (30_000, 30_000)))[:100]
    with pytest.raises(ImageRefused) as caught:
        decode_image(bomb, LIMITS)
    assert caught.value.code == "image_too_many_pixels"


@pytest.mark.parametrize("size", [(1, 101), (101, 1)])
def test_an_extreme_aspect_ratio_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageRefused):
        decode_image(saved(Image.new("RGB", size)), LIMITS)
    assert decode_image(saved(Image.new("RGB", (1, 100))), LIMITS).size == (1, 100)


def test_the_byte_limit_holds_to_the_byte() -> None:
    data = picture(size=(64, 64))
    exact = ImageLimits(max_bytes=len(data), max_pixels=10**6)
    short = ImageLimits(max_bytes=len(data) - 1, max_pixels=10**6)
    decode_image(data, exact)
    assert decode_base64(b64(data), exact) == data
    with pytest.raises(ImageRefused) as caught:
        decode_image(data, short)
    assert caught.value.code == "image_too_large"


def test_base64_is_sized_before_it_is_decoded() -> None:
    with pytest.raises(ImageRefused) as caught:
        decode_base64("!" * 200_000, LIMITS)
    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize(
    "uri",
    ["data:image/png;base64,", "data:image/jpeg;charset=utf-8;base64,", "data:image/x-any;base64,"],
)
def test_a_data_uri_may_name_any_image_type(uri: str) -> None:
    assert decode_base64(uri + b64(b"bytes"), LIMITS) == b"bytes"


@pytest.mark.parametrize(
    "text",
    ["data:image/png,AAAA", "data:text/plain;base64,AAAA", "data:;base64,AAAA", "AAA", "A===",
     "AA AA", "AA-_", "https://example.org/a.png", "HTTP://example.org", "é", "AAAA=AAA"],
)  # fmt: skip
def test_what_is_not_strict_base64_is_refused(text: str) -> None:
    with pytest.raises(ImageRefused):
        decode_base64(text, LIMITS)


@pytest.mark.parametrize("text", ["AAAA\n", "AA\r\nAA", "data:image/png;base64,AA\nAA"])
def test_line_breaks_in_base64_are_ignored(text: str) -> None:
    assert decode_base64(text, LIMITS) == bytes(3)


@given(st.binary(max_size=300))
def test_base64_and_data_uris_give_back_the_bytes(data: bytes) -> None:
    assert decode_base64(b64(data), LIMITS) == data
    assert decode_base64(data_uri(data), LIMITS) == data


@given(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_decoded_or_refused_and_nothing_else(
    form: str, data: st.DataObject
) -> None:
    damaged = bytearray(picture(form=form, size=(16, 12)))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        outcome = decode_image(bytes(damaged), LIMITS).mode
    except ImageRefused as error:
        outcome = error.code
    assert outcome in {"RGB", "invalid_image", "image_too_many_pixels"}
