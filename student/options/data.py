"""The images: where they are, which domains are held out, and how they are rendered."""

from __future__ import annotations

from pathlib import Path

from student.options.section import NameOrPath, Names, Positive, Section, UserPath, option


class DataOptions(Section):
    """Which images are trained and measured on, and in what form."""

    data: UserPath = option(
        Path("data"),
        "images: a folder, DATA/<domain>/<class>/* or DATA/<class>/*; a manifest, FILE.csv or "
        "FILE.parquet (path,label,domain,split); or a data set that datasets.save_to_disk wrote",
        identifies=False,
    )
    imagefolder: bool = option(
        False,
        "DATA is an imagefolder of Hugging Face: DATA/<split>/<class>/*, DATA/<class>/*, or with "
        "a metadata table (extra datasets)",
        identifies=False,
    )
    target_domain: Names = option(
        list,
        "domain to hold out (repeatable); without it, each domain is held out in turn "
        "(leave-one-domain-out)",
        identifies=True,
    )
    hold_out_classes: Names = option(
        list,
        "classes to hold out: not trained on; their prompts are bought, and their images measure "
        "whether the student rejects them as unknown and names them as new",
        identifies=True,
    )
    image_size: Positive = option(
        224, "width and height of the student's input, in pixels", identifies=True
    )
    views: Positive = option(
        1, "stored views of each image; the first is the image itself", identifies=True
    )
    pixels: NameOrPath | None = option(
        None,
        "where rendered views are kept: a folder, or an address that fsspec reads, such as "
        "s3://BUCKET/FOLDER (extra remote), as tar archives from which training reads the views of "
        "each step; without it, one memory-mapped file in --out",
        identifies=False,
    )
    unlabelled: bool = option(
        False,
        "the images have no classes: DATA/*, DATA/<domain>/* or a manifest; the student is for "
        "retrieval, and captions.csv (file,caption), if there is one, measures it",
        identifies=True,
    )
    measured_images: Positive = option(
        200,
        "with --unlabelled: the most images of a domain that are not trained on and whose "
        "embeddings are bought, with those of their captions, to measure the student",
        identifies=True,
    )
