"""Finds the images of a folder: `root/domain/class/*` (the DomainBed layout) or `root/class/*`, and
without labels `root/domain/*` or `root/*`."""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Sequence, Set, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from student.data.folder.captions import CAPTIONS_FILE, read_captions
from student.data.folder.folder_tree import (
    LAYOUT,
    NO_CLASS,
    UNLABELLED_LAYOUT,
    FolderTree,
    LeftOut,
    labelled,
    walk,
    without_labels,
)
from student.data.folder.image_file import ImageFile, read_image_file
from student.data.folder.names import class_names, listed, same_name
from student.errors import BadInput

UNSEEN_FILE = "unseen.csv"
"""Lists images that are never trained on: columns `name` (of a file, or its stem) and `group`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(ImageFile):
    """An image file with its labels, and with its captions if it has no class."""

    domain: str
    class_name: str  # NO_CLASS without labels
    unseen_group: str | None  # None: may be trained on
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Every image under a root in path order, with the names of all domains and classes.

    Without labels there is no class. `held_out` are classes that are not trained on and not among
    `classes`. `left_out` are the other files under the root; `notes` say
    what was read in a way that the user may not expect.
    """

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether the images have classes."""
        return bool(self.classes)

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of every image's domain, class, content and group."""
        hashed = hashlib.sha256()
        for item in self.items:
            line = (item.domain, item.class_name, item.digest, item.unseen_group or "")
            hashed.update("\t".join(line).encode() + b"\n")
        return hashed.hexdigest()

    def holding_out(self, names: Sequence[str]) -> Catalogue:
        """The same images with these classes held out, in the folder's spelling or another.

        Raises BadInput for a name that is no class, or if fewer than two classes are left.
        """
        found = [same_name(name, self.classes) for name in names]
        if unknown := [name for name in found if name not in self.classes]:
            message = f"--hold-out-classes: no class {listed(unknown)} in {self.root}"
            raise BadInput(message)
        left = tuple(name for name in self.classes if name not in found)
        if len(left) < 2:
            message = f"--hold-out-classes leaves {len(left)} of {len(self.classes)} classes"
            raise BadInput(message)
        return replace(self, classes=left, held_out=tuple(sorted(set(found))))

    def domain(self, name: str) -> str:
        """The domain of this name, in the folder's spelling; the name itself if there is none."""
        return same_name(name, self.domains)


def discover(root: Path, *, unlabelled: bool = False) -> Catalogue:
    """Every labelled image under `root`, hashed, and every other file as left out.

    Spellings of one class in several domains are read as one class (`names.class_names`).
    `unlabelled` reads images without classes instead, with the captions of `captions.csv`. Raises
    BadInput, with the expected layout, if there is no folder, no image or only one class, if the
    folders do not say which are domains and which classes, or if a file cannot be opened.
    """
    if not root.is_dir():
        message = f"no data folder {root}; {LAYOUT}"
        raise BadInput(message)
    tree = walk(root, own=(UNSEEN_FILE, *((CAPTIONS_FILE,) if unlabelled else ())))
    found = without_labels(tree) if unlabelled else labelled(tree)
    used, notes = class_names((one.domain, one.class_name) for one in found)
    if below := [one.path.parent.relative_to(root) for one in found if one.is_below]:
        folders = ", ".join(map(str, dict.fromkeys(below[:5])))
        notes.append(
            f"{len(below):,} images in folders below a class are read as images of that class: "
            f"{folders}" + (", …" if len(set(below)) > 5 else "")
        )
    paths = {one.path for one in found}
    unseen = _unseen(root / UNSEEN_FILE, paths)
    captions = read_captions(root, paths) if unlabelled else {}
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(read_image_file, (one.path for one in found)))
    items = tuple(
        Item(
            **asdict(file),
            domain=one.domain,
            class_name=used[one.class_name],
            unseen_group=unseen.get(_nfc(one.path.stem)) or unseen.get(_nfc(one.path.name)),
            captions=captions.get(one.path, ()),
        )
        for one, file in zip(found, files, strict=True)
    )
    classes = tuple(sorted({item.class_name for item in items} - {NO_CLASS}))
    _require_enough(root, tree, items, classes, unlabelled=unlabelled)
    return Catalogue(
        root=root,
        domains=tuple(sorted({item.domain for item in items})),
        classes=classes,
        items=items,
        left_out=tuple(tree.left_out),
        notes=tuple(notes),
    )


def _require_enough(
    root: Path, tree: FolderTree, items: Sized, classes: Sized, *, unlabelled: bool
) -> None:
    left = f"; {len(tree.left_out):,} files are left out" if tree.left_out else ""
    if unlabelled and not len(items):
        message = f"{root} holds no image{left}; expected {UNLABELLED_LAYOUT}"
        raise BadInput(message)
    if not unlabelled and len(classes) < 2:
        message = (
            f"{root} holds {len(items)} images of {len(classes)} classes{left}; {LAYOUT}. Images "
            f"without labels ({UNLABELLED_LAYOUT}) need --unlabelled"
        )
        raise BadInput(message)


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
            groups = {_nfc(row["name"] or ""): row["group"] for row in reader}
    except (UnicodeError, csv.Error) as error:
        message = f"{path} is not a table in UTF-8: {error}"
        raise BadInput(message) from error
    # Images of such rows would be trained on, which the file is meant to prevent.
    there = {name for image in images for name in (_nfc(image.stem), _nfc(image.name))}
    if lost := [name for name, group in groups.items() if not group or name not in there]:
        message = f"{path}: {', '.join(map(repr, lost[:5]))} has no group or names no image"
        raise BadInput(message)
    return groups


def _nfc(name: str) -> str:
    # A system may store the name of a file decomposed, where the table has it composed.
    return unicodedata.normalize("NFC", name)
