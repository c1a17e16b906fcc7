"""Finds the images of a folder: `root/domain/class/*` (the DomainBed layout) or `root/class/*`, and
without labels `root/domain/*` or `root/*`; or those of a manifest or a data set of `datasets`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path

from student.data.folder.captions import CAPTIONS_FILE, read_captions
from student.data.folder.classes_file import (
    CLASSES_FILE,
    about_codes,
    read_class_words,
    require_words,
)
from student.data.folder.folder_tree import (
    LAYOUT,
    NO_CLASS,
    UNLABELLED_LAYOUT,
    Found,
    LeftOut,
    labelled,
    walk,
    without_labels,
)
from student.data.folder.image_file import ImageFile, read_image_file
from student.data.folder.manifest import SUFFIXES, in_manifest
from student.data.folder.names import class_names, listed, nfc, same_name
from student.data.folder.saved_dataset import in_imagefolder, in_saved, is_saved
from student.data.folder.unseen import UNSEEN_FILE, read_unseen
from student.errors import BadInput

_TRAINING = frozenset({"train", "training"})
_LIKE_SPLITS = _TRAINING | {"val", "valid", "validation", "dev", "eval", "test", "testing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item(ImageFile):
    """An image file with its labels, and with its captions if it has no class."""

    domain: str
    class_name: str  # NO_CLASS without labels
    unseen_group: str | None  # None: may be trained on
    captions: tuple[str, ...] = ()
    split: str = ""  # one of splits.SPLITS; "": the client may choose


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Every image under a root in path order, with the names of all domains and classes.

    Without labels there is no class. `held_out` are classes that are not trained on and not among
    `classes`. `left_out` are the other files under the root; `notes` say what was read in a way
    that the user may not expect, `facts` what else was read.
    """

    root: Path
    domains: tuple[str, ...]
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether the images have classes."""
        return bool(self.classes)

    @property
    def digest(self) -> str:
        """The SHA-256 (hex) of every image's domain, class, content, group and split."""
        hashed = hashlib.sha256()
        for item in self.items:
            line: tuple[str, ...]
            line = (item.domain, item.class_name, item.digest, item.unseen_group or "")
            # Without a split as version 0.1 hashed it, which had none.
            line += (item.split,) if item.split else ()
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


def discover(root: Path, *, unlabelled: bool = False, imagefolder: bool = False) -> Catalogue:
    """Every labelled image of `root`, hashed, and every other file as left out.

    `root` is a folder of domains and classes, a manifest (`manifest.in_manifest`), or what
    `datasets` wrote; `imagefolder` reads it with `datasets`, and `unlabelled` a folder or a
    manifest of images without classes, with the captions of `captions.csv`. Classes have the words
    of `classes.csv`; spellings of one class in several domains are read as one class. Raises
    BadInput, with the expected layout, if there are no images or only one class, if the folders do
    not say which are domains and which classes, if a class has no word for its prompt, or if a
    table or a file cannot be read.
    """
    found = _found(root, unlabelled=unlabelled, imagefolder=imagefolder)
    used, notes = class_names((one.domain, one.class_name) for one in found.images)
    words = read_class_words(found.root, set(used.values()) - {NO_CLASS})
    paths = {one.path for one in found.images}
    unseen = read_unseen(found.root, paths)
    captions = read_captions(found.root, paths) if unlabelled else {}
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(lambda one: read_image_file(one.path, one.embedded), found.images))
    items = tuple(
        Item(
            **{part.name: getattr(file, part.name) for part in fields(file)},
            domain=one.domain,
            class_name=words.word_of.get(used[one.class_name], used[one.class_name]),
            unseen_group=unseen.get(nfc(one.path.stem)) or unseen.get(nfc(one.path.name)),
            captions=captions.get(one.path, ()),
            split=one.split,
        )
        for one, file in zip(found.images, files, strict=True)
    )
    classes = tuple(sorted({item.class_name for item in items} - {NO_CLASS}))
    _require_enough(root, len(found.left_out), items, classes, unlabelled=unlabelled)
    require_words(classes)
    return Catalogue(
        root=found.root,
        domains=tuple(sorted({item.domain for item in items})),
        classes=classes,
        items=items,
        left_out=tuple(found.left_out),
        notes=(*notes, *found.warnings, *words.warnings(), *about_codes(classes)),
        facts=(*found.facts, *words.facts()),
    )


def require_data(root: Path) -> None:
    """Raises BadInput, with the expected layout, if there is no such folder or manifest."""
    if not root.exists():
        message = f"no data folder {root}; {LAYOUT}"
        raise BadInput(message)


def _found(root: Path, *, unlabelled: bool, imagefolder: bool) -> Found:
    require_data(root)
    other = "an imagefolder" if imagefolder else "a data set on the disk" if is_saved(root) else ""
    if unlabelled and other:
        message = f"--unlabelled reads {UNLABELLED_LAYOUT} or a manifest, and {root} is {other}"
        raise BadInput(message)
    own = (UNSEEN_FILE, CAPTIONS_FILE if unlabelled else CLASSES_FILE)
    if root.is_file():
        if imagefolder or root.suffix not in SUFFIXES:
            message = f"{root} is a file: a manifest is .csv or .parquet; {LAYOUT}"
            raise BadInput(message)
        return in_manifest(root, unlabelled=unlabelled, own=own)
    if imagefolder:
        return in_imagefolder(root)
    return in_saved(root) if is_saved(root) else _in_folders(root, own, unlabelled=unlabelled)


def _in_folders(root: Path, own: Sequence[str], *, unlabelled: bool) -> Found:
    tree = walk(root, own=own)
    images = without_labels(tree) if unlabelled else labelled(tree)
    warnings = []
    if below := [one.path.parent.relative_to(root) for one in images if one.is_below]:
        folders = ", ".join(map(str, dict.fromkeys(below[:5])))
        warnings.append(
            f"{len(below):,} images in folders below a class are read as images of that class: "
            f"{folders}" + (", …" if len(set(below)) > 5 else "")
        )
    domains = {one.domain for one in images}
    spelt = {domain.casefold() for domain in domains}
    if spelt & _TRAINING and spelt <= _LIKE_SPLITS:
        warnings.append(
            f"{listed(sorted(domains))} are read as domains: if they are splits, use --imagefolder "
            "or a manifest"
        )
    return Found(root=root, images=images, left_out=tree.left_out, warnings=warnings)


def _require_enough(
    root: Path, num_left_out: int, items: Sized, classes: Sized, *, unlabelled: bool
) -> None:
    left = f"; {num_left_out:,} files are left out" if num_left_out else ""
    if unlabelled and not len(items):
        message = f"{root} holds no image{left}; expected {UNLABELLED_LAYOUT}"
        raise BadInput(message)
    if not unlabelled and len(classes) < 2:
        message = (
            f"{root} holds {len(items)} images of {len(classes)} classes{left}; {LAYOUT}. Images "
            f"without labels ({UNLABELLED_LAYOUT}) need --unlabelled"
        )
        raise BadInput(message)
