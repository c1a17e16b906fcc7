"""Reads a data folder into splits and pixels, before anything is bought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from student.console import Terminal
from student.data.class_table import show_classes, show_domains, warn_of_two_classes
from student.data.folder.folder_tree import LeftOut, left_out_lines
from student.data.folder.image_folder import Catalogue, Item, discover
from student.data.folder.names import listed, shown_path
from student.data.pixel_table import PixelTable, pixel_table
from student.data.split import Split, split
from student.errors import BadInput
from student.options import DataOptions, RunOptions
from student.training.pixels import Pixels, images_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageSet:
    """The readable images of a run.

    `training` are the images that at least one split trains on, `stored` (N, K, S, S, 3) their
    views. `measured` are the validation and test images, and those of held-out classes, `clean`
    (M, 1, S, S, 3) their pixels.
    """

    catalogue: Catalogue
    splits: tuple[Split, ...]
    training: tuple[Item, ...]
    stored: Pixels
    measured: tuple[Item, ...]
    clean: Pixels

    def label(self, item: Item) -> int:
        """The class as a number; -1 without labels."""
        return self.catalogue.classes.index(item.class_name) if item.class_name else -1

    def trained_on_by(self, splits: Iterable[Split]) -> ImageSet:
        """The same with only those training images that one of these splits trains on."""
        kept = {item.path for split in splits for item in split.train}
        rows = [row for row, item in enumerate(self.training) if item.path in kept]
        if len(rows) == len(self.training):
            return self
        training = tuple(self.training[row] for row in rows)
        return replace(self, training=training, stored=images_of(self.stored, rows))


def load_image_set(
    options: DataOptions,
    run: RunOptions,
    terminal: Terminal,
    catalogue: Catalogue | None = None,
) -> ImageSet:
    """Find, split and render the images; unreadable images are reported and left out.

    Reads the folder, and hashes each of its files, unless `catalogue` is given. Raises BadInput for
    a folder that cannot be used.
    """
    catalogue = catalogue or read_folder(options, terminal)
    if options.hold_out_classes and not catalogue.held_out:
        catalogue = catalogue.holding_out(options.hold_out_classes)
    most = options.measured_images if options.unlabelled else None
    splits = [
        split(catalogue, targets=targets, seed=run.seed, most=most)
        for targets in _target_choices(catalogue, options.target_domain)
    ]
    return render_views(catalogue, splits, options, run.out, terminal)


def read_folder(options: DataOptions, terminal: Terminal) -> Catalogue:
    """`discover`, with a line for everything in the folder that is not read as it stands there."""
    terminal.say(f"reading {options.data}")
    catalogue = discover(
        options.data, unlabelled=options.unlabelled, imagefolder=options.imagefolder
    )
    for fact in catalogue.facts:
        terminal.say(fact)
    for note in (*catalogue.notes, *_sent_as_png(catalogue)):
        terminal.warn(note)
    for one in left_out_lines(catalogue.root, catalogue.left_out):
        terminal.say(one)
    return catalogue


def _sent_as_png(catalogue: Catalogue) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for item in catalogue.items:
        if not item.is_sent_as_file:
            names[item.image_format].append(shown_path(item.path, catalogue.root))
    return [
        f"{len(paths):,} {image_format} images are sent to the vendor as PNG: "
        f"{listed(paths, most=3)}"
        for image_format, paths in names.items()
    ]


def render_views(
    catalogue: Catalogue,
    splits: Sequence[Split],
    options: DataOptions,
    out: Path,
    terminal: Terminal,
) -> ImageSet:
    """The pixels of these splits, in the size and the views of the options, kept under `out`, or
    where the options say."""
    _warn_of_copies(splits, terminal)
    training = _distinct(item for split in splits for item in split.train)
    measured = _distinct(
        item
        for split in splits
        for part in (split.validation, *split.tests.values(), *split.unknown.values())
        for item in part
    )
    render = partial(
        pixel_table, size=options.image_size, folder=out / "pixels", address=options.pixels
    )
    with terminal.bar("rendering views") as update:
        stored = render(training, views=options.views, progress=lambda d, t: update(d, t, ""))
    with terminal.bar("rendering test images") as update:
        clean = render(measured, views=1, progress=lambda d, t: update(d, t, ""))
    broken = {training[row]: why for row, why in stored.unreadable.items()} | {
        measured[row]: why for row, why in clean.unreadable.items()
    }
    unreadable = _report_unreadable(catalogue.root, broken, terminal)
    scanned = ImageSet(
        catalogue=replace(catalogue, left_out=(*catalogue.left_out, *unreadable)),
        splits=tuple(_without(split, set(broken)) for split in splits),
        training=_kept(training, stored),
        stored=_kept_pixels(stored),
        measured=_kept(measured, clean),
        clean=_kept_pixels(clean),
    )
    if not catalogue.is_labelled:
        show_domains(catalogue.domains, scanned.splits, terminal)
        return scanned
    readable = _distinct((*scanned.training, *scanned.measured))
    show_classes(catalogue.classes, catalogue.domains, readable, scanned.splits, terminal)
    if catalogue.held_out:
        count = sum(item.class_name in catalogue.held_out for item in readable)
        terminal.say(f"held out as unknown: {count:,} images of {listed(catalogue.held_out)}")
    warn_of_two_classes(
        ((scanned.training, scanned.stored), (scanned.measured, scanned.clean)), terminal
    )
    return scanned


def _target_choices(catalogue: Catalogue, named: Sequence[str]) -> list[list[str]]:
    """All named domains together; without names each domain in turn; with one domain none."""
    if named:
        return [[catalogue.domain(name) for name in named]]
    if len(catalogue.domains) == 1:
        return [[]]
    return [[domain] for domain in catalogue.domains]


def _report_unreadable(root: Path, broken: Mapping[Item, str], terminal: Terminal) -> list[LeftOut]:
    left_out = [LeftOut(path=item.path, reason="cannot be read as an image") for item in broken]
    lines = left_out_lines(root, left_out)
    for line in lines:
        terminal.warn(line)
    if lines:
        terminal.say(f"the first: {next(iter(broken.values()))}")
    return left_out


def _warn_of_copies(splits: Sequence[Split], terminal: Terminal) -> None:
    most: dict[str, int] = {}
    for copies in map(Split.copies, splits):
        for part, count in copies.items():
            most[part] = max(count, most.get(part, 0))
    if most:
        counts = ", ".join(f"{part} {count:,}" for part, count in most.items())
        terminal.warn(
            f"images that are both trained on and measured, byte for byte: {counts}; part of the "
            "accuracy there is memorisation"
        )


def _distinct(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(items))


def _kept(items: Sequence[Item], table: PixelTable) -> tuple[Item, ...]:
    return tuple(item for row, item in enumerate(items) if row not in table.unreadable)


def _kept_pixels(table: PixelTable) -> Pixels:
    if not table.unreadable:
        return table.pixels
    return images_of(table.pixels, np.flatnonzero(table.readable()))


def _without(split: Split, broken: set[Item]) -> Split:
    if not broken:
        return split

    def intact(items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(item for item in items if item not in broken)

    tests = {name: kept for name, items in split.tests.items() if (kept := intact(items))}
    unknown = {name: kept for name, items in split.unknown.items() if (kept := intact(items))}
    readable = replace(
        split,
        train=intact(split.train),
        validation=intact(split.validation),
        tests=tests,
        unknown=unknown,
    )
    if not readable.train or not readable.validation:
        message = "no readable image is left to train on or to validate with"
        raise BadInput(message)
    return readable


def rows_by_path(items: Sequence[Item]) -> dict[Path, int]:
    """The row of each item by its path, because two copies of an image have the same digest."""
    return {item.path: row for row, item in enumerate(items)}
