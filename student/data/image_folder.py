"""Finds labelled images in `root/domain/class/*` (the DomainBed layout) or `root/class/*`."""

import csv
import hashlib
from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from student.errors import BadInput

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
UNSEEN_FILE = "unseen.csv"
"""Lists images that are never trained on: columns `name` (of a file, or its stem) and `group`."""

LAYOUT = (
    "expected DATA/<domain>/<class>/<image> or DATA/<class>/<image> "
    "(png, jpg, webp, bmp, gif); for the demo data run: distill-client demo-data --out data/emoji"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An image file, identified by its content and not by its name."""

    path: Path
    domain: str
    class_name: str
    digest: str  # hex sha256 of the file
    unseen_group: str | None  # None: may be trained on


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Every image under a root in path order, with the names of all domains and classes."""

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    items: tuple[Item, ...]


def discover(root: Path) -> Catalogue:
    """Every labelled image under `root`, hashed.

    Raises BadInput, with the expected layout, if there is no folder, no image or only one class, if
    a folder could be both a domain and a class, or if a file cannot be opened.
    """
    if not root.is_dir():
        message = f"no data folder {root}; {LAYOUT}"
        raise BadInput(message)
    found = list(_labelled(root))
    unseen = _unseen(root / UNSEEN_FILE, {path for path, _, _ in found})
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_sha256, (path for path, _, _ in found)))
    items = tuple(
        Item(
            path=path,
            domain=domain,
            class_name=class_name,
            digest=digest,
            unseen_group=unseen.get(path.stem) or unseen.get(path.name),
        )
        for (path, domain, class_name), digest in zip(found, digests, strict=True)
    )
    classes = tuple(sorted({item.class_name for item in items}))
    if len(classes) < 2:
        message = f"{root} holds {len(items)} images of {len(classes)} classes; {LAYOUT}"
        raise BadInput(message)
    domains = tuple(sorted({item.domain for item in items}))
    return Catalogue(root=root, domains=domains, classes=classes, items=items)


def _labelled(root: Path) -> Iterator[tuple[Path, str, str]]:
    for first in _folders(root):
        classes = _folders(first)
        if classes and (beside := _images(first)):
            message = (
                f"{first} holds images ({beside[0].name}) and folders ({classes[0].name}), so it "
                f"could be a class or a domain: move the images or the folders away; {LAYOUT}"
            )
            raise BadInput(message)
        for class_folder in classes:
            for path in _images(class_folder):
                yield path, first.name, class_folder.name
        if not classes:
            for path in _images(first):
                yield path, root.resolve().name, first.name


def _folders(parent: Path) -> list[Path]:
    return sorted(p for p in _named(parent) if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(
        p
        for p in _named(folder)
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and not _is_no_file(p)
    )


def _is_no_file(path: Path) -> bool:
    """Whether it is a folder or a pipe; a broken link counts as a missing file."""
    return path.exists() and not path.is_file()


def _named(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            message = f"{str(path)!a} has a name that is not UTF-8: rename it"
            raise BadInput(message) from error
        yield path


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        message = f"{path} cannot be opened ({error.strerror}): nothing was bought; move it away"
        raise BadInput(message) from error


def _unseen(path: Path, images: Set[Path]) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as source:
            reader = csv.DictReader(source)
            if not {"name", "group"} <= set(reader.fieldnames or ()):
                message = f"{path} needs the columns name and group"
                raise BadInput(message)
            groups = {row["name"]: row["group"] for row in reader}
    except (UnicodeError, csv.Error) as error:
        message = f"{path} is not a table in UTF-8: {error}"
        raise BadInput(message) from error
    # Images of such rows would be trained on, which the file is meant to prevent.
    there = {name for image in images for name in (image.stem, image.name)}
    if lost := [name for name, group in groups.items() if not group or name not in there]:
        message = f"{path}: {', '.join(map(repr, lost[:5]))} has no group or names no image"
        raise BadInput(message)
    return groups
