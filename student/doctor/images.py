"""The data folder: what is read, what is left out, and what would spoil a student."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from student.data.class_table import FEW
from student.data.folder.folder_tree import HIDDEN, left_out_lines
from student.data.folder.image_folder import Catalogue, Item, discover
from student.data.folder.names import listed, shown_path
from student.data.views import open_rgb
from student.doctor import views
from student.doctor.finding import Finding, ok, warning
from student.errors import DataError
from student.options import Options

_MOST = 5  # names in a finding


def images(options: Options) -> Iterator[Finding]:
    """Reads and decodes every image. Takes about as long as rendering them."""
    catalogue = discover(
        options.data.data,
        unlabelled=options.data.unlabelled,
        imagefolder=options.data.imagefolder,
    )
    if options.data.hold_out_classes:
        catalogue = catalogue.holding_out(options.data.hold_out_classes)
    yield ok(
        "data",
        f"{catalogue.root}: {len(catalogue.items):,} images of {len(catalogue.classes):,} classes "
        f"in {len(catalogue.domains):,} domains",
    )
    for fact in catalogue.facts:
        yield ok("data", fact)
    for note in catalogue.notes:
        yield warning("names", note, "rename the folders if this is not what you mean")
    hidden = [one for one in catalogue.left_out if one.reason == HIDDEN]
    for line in left_out_lines(catalogue.root, hidden):
        yield ok("left out", line)
    others = [one for one in catalogue.left_out if one.reason != HIDDEN]
    for line in left_out_lines(catalogue.root, others):
        yield warning("left out", line, "convert, move or delete these files")
    yield from _held_out(options, catalogue)
    yield from _classes(catalogue)
    yield from views.room(options, len(catalogue.items))
    yield from _pixels(catalogue)


def _held_out(options: Options, catalogue: Catalogue) -> Iterator[Finding]:
    if unknown := [
        name
        for name in options.data.target_domain
        if catalogue.domain(name) not in catalogue.domains
    ]:
        yield Finding(
            level="error",
            subject="held-out domains",
            detail=f"there is no domain {listed(unknown)}",
            fix=f"the domains are {listed(catalogue.domains, most=20)}",
        )
    elif {*map(catalogue.domain, options.data.target_domain)} == set(catalogue.domains):
        yield Finding(
            level="error",
            subject="held-out domains",
            detail="every domain is held out, and none is left to train on",
            fix="name fewer --target-domain",
        )
    if len(catalogue.domains) == 1:
        yield warning(
            "held-out domains",
            "there is one domain, so nothing tells how the student does on another",
            "put the images of each domain into a folder DATA/<domain>/<class>/",
        )


def _classes(catalogue: Catalogue) -> Iterator[Finding]:
    totals = Counter(item.class_name for item in catalogue.items)
    if few := [f"{name} ({totals[name]})" for name in catalogue.classes if totals[name] < FEW]:
        yield warning(
            "small classes",
            f"{len(few):,} classes have fewer than {FEW} images: {listed(few, most=_MOST)}",
            "add images, or remove the classes",
        )
    there = {(item.class_name, item.domain) for item in catalogue.items}
    lacking = [
        f"{name} in {domain}"
        for name in catalogue.classes
        for domain in catalogue.domains
        if (name, domain) not in there
    ]
    if lacking:
        yield warning(
            "missing classes",
            f"{len(lacking):,} classes lack a domain: {listed(lacking, most=_MOST)}",
            "a class that only a held-out domain has is never trained on; add images, or ignore "
            "this if the domain has no such class",
        )


def _pixels(catalogue: Catalogue) -> Iterator[Finding]:
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_digest_of, catalogue.items))
    broken = [
        item.path for item, digest in zip(catalogue.items, found, strict=True) if digest is None
    ]
    if broken:
        yield warning(
            "unreadable images",
            f"{len(broken):,} cannot be decoded: {_paths(catalogue.root, broken)}",
            "replace or delete them; a run leaves them out",
        )
    alike: dict[str, list[Item]] = defaultdict(list)
    for item, digest in zip(catalogue.items, found, strict=True):
        if digest is not None:
            alike[digest].append(item)
    two_labels = [group for group in alike.values() if len({item.class_name for item in group}) > 1]
    if two_labels:
        names = [item.path for group in two_labels for item in group[:2]]
        yield warning(
            "two labels",
            f"{len(two_labels):,} pictures are in two classes: {_paths(catalogue.root, names)}",
            "delete the wrong one of each",
        )
    if not broken and not two_labels:
        yield ok("images", f"all {len(catalogue.items):,} can be decoded; none has two labels")


def _digest_of(item: Item) -> str | None:
    """The digest of an image's pixels; None if it cannot be decoded."""
    try:
        image = open_rgb(item.path, item.read_bytes())
    except (DataError, OSError):
        return None
    return hashlib.blake2b(image.tobytes(), salt=f"{image.width}".encode()).hexdigest()


def _paths(root: Path, paths: Sequence[Path]) -> str:
    return listed([shown_path(path, root) for path in paths], most=_MOST)
