"""Unusual but harmless images: most must be embedded with the pixels that Pillow decodes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from benchmarks.fuzz.image_files import (
    FORMS,
    INVALID,
    TOO_MANY,
    Sample,
    as_opened,
    noise,
    png_chunk,
    png_of,
    saved,
)


def sizes() -> Iterator[Sample]:
    for form in FORMS:
        content = saved(noise(size=(1, 1)), form)
        yield Sample(group="sizes", name=f"1x1 {form}", content=content, looks=as_opened(content))
    for size in ((1, 100_000), (100_000, 1), (1, 101), (3000, 29)):
        long = saved(Image.new("L", size))
        yield Sample(group="sizes", name=f"{size[0]}x{size[1]}", content=long, code=INVALID)
    for size in ((1, 100), (100, 1), (2000, 2000)):
        plain = Image.new("RGB", size, "teal")
        name = f"{size[0]}x{size[1]}"
        yield Sample(group="sizes", name=name, content=saved(plain), looks=plain)
    for size in ((2000, 2001), (2001, 2000)):
        over = saved(Image.new("1", size))
        yield Sample(group="sizes", name=f"{size[0]}x{size[1]}", content=over, code=TOO_MANY)
    for width, height in ((0, 0), (0, 5), (5, 0)):
        none = png_of(width, height, zlib.compress(b""))
        yield Sample(group="sizes", name=f"{width}x{height}", content=none, code=INVALID)


def modes() -> Iterator[Sample]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        file = saved(noise(mode=mode))
        with Image.open(BytesIO(file)) as image:
            layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        looks = Image.alpha_composite(white, layer).convert("RGB")
        yield Sample(group="modes", name=f"PNG {mode}", content=file, looks=looks)
    for mode in ("L", "CMYK"):
        file = saved(noise(mode=mode), "JPEG")
        yield Sample(group="modes", name=f"JPEG {mode}", content=file, looks=as_opened(file))
    deep = np.random.default_rng(0).integers(0, 2**16, (30, 40), dtype=np.uint16)
    shades = Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
    file = saved(Image.fromarray(deep))
    yield Sample(group="modes", name="16-bit grey", content=file, looks=shades)
    wide = np.random.default_rng(1).integers(0, 2**16, (30, 40, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    file = png_of(40, 30, zlib.compress(rows), depth=16, color=2)
    yield Sample(group="modes", name="16-bit colour", content=file, looks=as_opened(file))
    see_through = Image.new("P", (8, 8))
    see_through.putpalette([255, 0, 0, 0, 0, 255])
    see_through.paste(1, (0, 0, 4, 8))
    looks = Image.new("RGB", (8, 8), "white")
    looks.paste((0, 0, 255), (0, 0, 4, 8))
    for form in ("PNG", "GIF"):
        file = saved(see_through, form, transparency=0)
        yield Sample(group="modes", name=f"see-through {form}", content=file, looks=looks)


def orientations() -> Iterator[Sample]:
    for form in ("JPEG", "PNG", "WEBP"):
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            file = saved(noise(), form, exif=exif)
            with Image.open(BytesIO(file)) as image:
                looks = ImageOps.exif_transpose(image).convert("RGB")
            name = f"{form} turned {orientation}"
            yield Sample(group="orientations", name=name, content=file, looks=looks)
    for name, blob in (("cut", b"II*\0\x08\0\0\0\xff\xff"), ("words", b"words, no tags")):
        file = saved(noise(), "WEBP", lossless=True, exif=b"Exif\0\0" + blob)
        code = INVALID if name == "words" else None
        yield Sample(group="orientations", name=f"EXIF is {name}", content=file, code=code)


def animated() -> Iterator[Sample]:
    frames = [noise(seed) for seed in range(4)]
    for form in ("GIF", "WEBP", "PNG"):
        options = {"save_all": True, "append_images": frames[1:], "lossless": True}
        file = saved(frames[0], form, **options)
        yield Sample(group="animated", name=form, content=file, looks=as_opened(file))
    file = saved(frames[0], "GIF")
    grown = file[:6] + struct.pack("<HH", 65_535, 65_535) + file[10:]
    yield Sample(group="animated", name="GIF on a huge screen", content=grown, code=TOO_MANY)


def profiles() -> Iterator[Sample]:
    for form in ("PNG", "JPEG", "WEBP"):
        for name, profile in (("broken", b"\0" * 100), ("random", bytes(range(256)) * 200)):
            file = saved(noise(), form, icc_profile=profile, lossless=True)
            looks = as_opened(saved(noise(), form, lossless=True))
            yield Sample(group="profiles", name=f"{form} {name}", content=file, looks=looks)
    bomb = b"icc\0\0" + zlib.compress(bytes(40 * 2**20))
    file = png_of(40, 30, zlib.compress(b"\0" * 41 * 30))
    file = file[:33] + png_chunk(b"iCCP", bomb) + file[33:]
    yield Sample(group="profiles", name="a bomb in a profile", content=file, code=INVALID)


def names() -> Iterator[Sample]:
    for form in FORMS:
        for name in ("a.txt", "a.exe", "../../a.svg", "a.jpg", "ä\u202e.gnp"):
            file = saved(noise(), form)
            yield Sample(group="names", name=f"{form} as {name!r}", content=file, filename=name,
                         looks=as_opened(file))  # fmt: skip
