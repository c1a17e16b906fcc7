"""Files that attack a decoder: truncated, oversized, malformed or of another type."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from benchmarks.fuzz.image_files import (
    FORMS,
    INVALID,
    LIMITS,
    TOO_LARGE,
    TOO_MANY,
    Sample,
    as_opened,
    bmp_run_length,
    noise,
    png_chunk,
    png_of,
    saved,
    with_scans,
)
from benchmarks.support.vendor_in_process import b64, picture


def truncated() -> Iterator[Sample]:
    for form in FORMS:
        whole = picture(form=form, size=(64, 64))
        for sixteenth in range(16):
            part = whole[: len(whole) * sixteenth // 16]
            name = f"{form} cut at {sixteenth}/16"
            yield Sample(group="truncated", name=name, content=part, code=INVALID)


def polyglots() -> Iterator[Sample]:
    for form in ("PNG", "JPEG", "GIF", "BMP"):
        file = saved(noise(), form)
        for name, tail in (("a zip", b"PK\x05\x06" + bytes(18)), ("a script", b"<script>"),
                           ("a PNG", picture(9)), ("a JPEG", picture(9, form="JPEG"))):  # fmt: skip
            yield Sample(group="polyglots", name=f"{form} with {name} after it",
                         content=file + tail, looks=as_opened(file))  # fmt: skip
        for name, start in (("a zip", b"PK\x03\x04"), ("HTML", b"<html>"), ("a NUL", b"\0")):
            code = INVALID
            yield Sample(group="polyglots", name=f"{form} after {name}",
                         content=start + file, code=code)  # fmt: skip


def foreign() -> Iterator[Sample]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    foreign = {
        "SVG": svg,
        "SVG with a declaration": b'<?xml version="1.0"?>' + svg,
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "AVIF": b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(500),
        "JPEG XL": b"\xff\x0a" + bytes(200),
        "PDF": b"%PDF-1.7\n" + bytes(200),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "FITS": b"SIMPLE  =                    T" + b" " * 2850,
        "PSD": b"8BPS\0\x01" + bytes(200),
        "text": b"an image of a dog",
        "JSON": b'{"image": 1}',
        "ELF": b"\x7fELF" + bytes(200),
    }
    for form in ("TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "DDS", "IM", "MSP"):
        image = noise(size=(32, 32), mode="1" if form == "MSP" else "RGB")
        foreign[f"{form} that Pillow reads"] = saved(image, form)
    if features.check("jpg_2000"):
        foreign["JPEG 2000 that Pillow reads"] = saved(noise(), "JPEG2000")
    for name, file in foreign.items():
        yield Sample(group="foreign", name=name, content=file, code=INVALID)


def bombs() -> Iterator[Sample]:
    empty = zlib.compress(bytes(10 * 2**20))
    for side in (5_000, 50_000, 2**31 - 1):
        file = png_of(side, side, empty)
        yield Sample(group="bombs", name=f"PNG {side}", content=file, code=TOO_MANY)
    yield Sample(group="bombs", name="more data than pixels", content=png_of(4, 4, empty))
    for form in ("GIF", "JPEG", "WEBP", "BMP"):
        file = saved(Image.new("L" if form == "BMP" else "RGB", (2500, 2500)), form)
        code = TOO_LARGE if len(file) > LIMITS.max_bytes else TOO_MANY
        yield Sample(group="bombs", name=f"{form} of 6 megapixels", content=file, code=code)
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20)))
    file = png_of(40, 30, zlib.compress(b"\0" * 41 * 30))
    yield Sample(group="bombs", name="60 MiB of text", content=file[:33] + text * 60 + file[33:])
    many = file[:33] + text * 70 + file[33:]
    yield Sample(group="bombs", name="70 MiB of text", content=many, code=INVALID)


def parts() -> Iterator[Sample]:
    jpeg = saved(Image.new("L", (1500, 1500), 128), "JPEG", progressive=True)
    plain = saved(noise(), "JPEG", quality=90)
    png, gif = saved(noise()), saved(noise(mode="P"), "GIF")
    screen = 13 + 3 * (2 << (gif[10] & 7))
    end = b"\1\0\0\0" * 1500 + b"\0\1"
    overlapping = b"".join(struct.pack("<HHII", 40_000 + n, 7, 60_000, 8) for n in range(5_000))
    tags = b"II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + overlapping
    exif = b"Exif\0\0" + tags + bytes(65_000 - len(tags))
    fine = {
        "50 scans": with_scans(jpeg, 50),
        "500 empty segments": plain[:2] + b"\xff\xe5\0\x02" * 500 + plain[2:],
        "5,000 empty chunks": png[:33] + png_chunk(b"abCd", b"") * 5_000 + png[33:],
        "a long comment": gif[:screen] + b"!\xfe" + (b"\xff" + b"c" * 255) * 4_000 + b"\0"
        + gif[screen:],
        "5,000 tags over one value": plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2)
        + exif + plain[2:],
    }  # fmt: skip
    excessive = {
        "500 scans": with_scans(jpeg, 500),
        "20,000 scans": with_scans(jpeg, 20_000),
        "400,000 empty segments": plain[:2] + b"\xff\xe5\0\x02" * 400_000 + plain[2:],
        "150,000 empty chunks": png[:33] + png_chunk(b"abCd", b"") * 150_000 + png[33:],
        "50,000 pieces of EXIF": plain[:2] + b"\xff\xe1\0\x09Exif\0\0x" * 50_000 + plain[2:],
        "900,000 pieces of a comment": gif[:screen] + b"!\xfe" + b"\1c" * 900_000 + b"\0"
        + gif[screen:],
        "300,000 comments": gif[:screen] + b"!\xfe\1c\0" * 300_000 + gif[screen:],
        "run-length rows of one pixel": bmp_run_length(1500, 1500, end),
        "run-length ends of nothing": bmp_run_length(1500, 1500, b"\0\0" * 500_000 + b"\0\1"),
    }  # fmt: skip
    for name, file in fine.items():
        yield Sample(group="parts", name=name, content=file)
    for name, file in excessive.items():
        yield Sample(group="parts", name=name, content=file, code=INVALID)


def raw_bytes() -> Iterator[Sample]:
    random = np.random.default_rng(0).bytes(20 * 2**20)
    for size, code in ((0, INVALID), (1, INVALID), (1000, INVALID), (LIMITS.max_bytes, INVALID),
                       (LIMITS.max_bytes + 1, TOO_LARGE), (20 * 2**20, TOO_LARGE)):  # fmt: skip
        for name, data in (("noise", random[:size]), ("zeros", bytes(size))):
            yield Sample(group="bytes", name=f"{size} of {name}", content=data, code=code)
    for form in FORMS:
        start = saved(noise(), form)[:24]
        yield Sample(group="bytes", name=f"{form}'s start, then noise",
                     content=start + random[:100_000], code=INVALID)  # fmt: skip


def encodings() -> Iterator[Sample]:
    file = saved(noise())
    good, looks = b64(file), as_opened(file)
    fine = {
        "bare": good,
        "data-URI": f"data:image/png;base64,{good}",
        "another type": f"data:image/gif;base64,{good}",
        "folded": "\n".join(good[at : at + 76] for at in range(0, len(good), 76)),
        "a newline after": good + "\n",
    }
    for name, text in fine.items():
        yield Sample(group="base64", name=name, content=text, looks=looks)
    bad = {
        "a space before": " " + good,
        "a tab within": good[:40] + "\t" + good[40:],
        "garbage within": good[:40] + "$%&!" + good[40:],
        "garbage after": good + "!!!!",
        "no padding": good.rstrip("=") + ("" if good.endswith("=") else "A"),
        "padding within": good[:40] + "====" + good[40:],
        "URL-safe": base64.urlsafe_b64encode(b"\xff\xef" * 90).decode(),
        "twice encoded": b64(good.encode()),
        "empty": "",
        "an empty data-URI": "data:image/png;base64,",
        "a data-URI of HTML": f"data:text/html;base64,{good}",
        "percent-encoded": f"data:image/png,{good}",
        "a URL": "https://169.254.169.254/latest/meta-data",
        "a file URL": "file:///etc/passwd",
        "a path": "/etc/passwd",
        "emoji": "😀" * 40,
        "NUL": "\0" * 40,
        "hexadecimal": file.hex()[:-1],
    }
    for name, text in bad.items():
        yield Sample(group="base64", name=name, content=text, code=INVALID)
    long = b64(bytes(LIMITS.max_bytes + 3))
    yield Sample(group="base64", name="too long", content=long, code=TOO_LARGE)


def damaged() -> Iterator[Sample]:
    for form in FORMS:
        whole = picture(form=form, size=(32, 24))
        for seed in range(60):
            random = np.random.default_rng(seed)
            file = bytearray(whole)
            # Half of the damage is in the first 64 bytes, which hold sizes, offsets and types.
            for at in random.integers(0, len(file) if seed % 2 else 64, 3):
                file[at] = random.integers(0, 256)
            name = f"{form} with bytes changed, {seed}"
            yield Sample(group="damaged", name=name, content=bytes(file), is_open=True)
