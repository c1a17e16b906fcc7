"""Walks a data folder and says of every file in it what it is: an image of a class, or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from student.data.folder.embedded_image import EmbeddedImage
from student.data.folder.image_file import image_suffixes
from student.data.folder.names import listed, shown_path
from student.errors import BadInput

LAYOUT = (
    "expected DATA/<domain>/<class>/<image> or DATA/<class>/<image>; for the demo data run: "
    "distill-client demo-data --out data/emoji"
)
UNLABELLED_LAYOUT = "DATA/<image> or DATA/<domain>/<image>"
NO_CLASS = ""
"""The class of an image without a label."""
HIDDEN = "hidden or made by the system"
# Folders that systems and archives leave beside a user's own, and whose files look like images.
_SYSTEM_FOLDERS = frozenset(
    {"__MACOSX", "@eaDir", "__pycache__", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that is not read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """An image file with the names of its domain's folder and its class's folder.

    `is_below` is whether it lies in a folder below its class. `split` is one of `splits.SPLITS`, or
    "" where the client may choose. The bytes of an `embedded` image are in no file.
    """

    path: Path
    domain: str
    class_name: str
    is_below: bool
    split: str = ""
    embedded: EmbeddedImage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a folder, a manifest or a data set holds.

    `root` is where the tables of the user lie. `warnings` say what was read in a way that the user
    may not expect, `facts` what else was read.
    """

    root: Path
    images: list[Labelled]
    left_out: list[LeftOut]
    warnings: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class FolderTree:
    """Every file under a folder: images by the folders above them, and what is left out."""

    root: Path
    images: dict[tuple[str, ...], list[Path]] = field(default_factory=dict)
    subfolders: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


def walk(root: Path, own: Sequence[str] = ()) -> FolderTree:
    """Every file under `root`, in path order; `own` are names of files at the root that are no
    images and are read by the client itself.

    Raises BadInput for a name that is not UTF-8 and for a folder that cannot be read.
    """
    tree = FolderTree(root)
    try:
        _walk(root, (), tree, is_hidden=False, above=())
    except OSError as error:
        message = (
            f"{error.filename or root} cannot be read ({error.strerror}): nothing was bought; make "
            "it readable or move it away"
        )
        raise BadInput(message) from error
    tree.left_out = [one for one in tree.left_out if one.path not in {root / name for name in own}]
    return tree


def _walk(
    folder: Path,
    parts: tuple[str, ...],
    tree: FolderTree,
    *,
    is_hidden: bool,
    above: tuple[tuple[int, int], ...],
) -> None:
    try:
        entries = _entries(folder)
        here = folder.stat()
    except PermissionError:
        if not is_hidden:
            raise
        tree.left_out.append(LeftOut(path=folder, reason=HIDDEN))
        return
    above = (*above, (here.st_dev, here.st_ino))
    for path in entries:
        hidden = is_hidden or path.name.startswith(".") or path.name in _SYSTEM_FOLDERS
        if path.is_dir():
            inside = path.stat()
            if (inside.st_dev, inside.st_ino) in above:
                tree.left_out.append(LeftOut(path=path, reason="a link to a folder above it"))
                continue
            if not hidden:
                tree.subfolders.setdefault(parts, []).append(path.name)
            _walk(path, (*parts, path.name), tree, is_hidden=hidden, above=above)
        elif (reason := _why_not(path, is_hidden=hidden)) is not None:
            tree.left_out.append(LeftOut(path=path, reason=reason))
        else:
            tree.images.setdefault(parts, []).append(path)


def _why_not(path: Path, *, is_hidden: bool) -> str | None:
    if is_hidden or path.name.lower() in _SYSTEM_FILES:
        return HIDDEN
    if path.exists() and not path.is_file():  # a broken link counts as a missing file
        return "not a file"
    if path.suffix.lower() not in image_suffixes():
        return "not a suffix of an image format that is read"
    return None


def _entries(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir())
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            message = f"{str(path)!a} has a name that is not UTF-8: rename it"
            raise BadInput(message) from error
    return paths


def labelled(tree: FolderTree) -> list[Labelled]:
    """The images with their domain and class, in path order; images at the root are left out.

    Raises BadInput where the folders do not say which of them are domains and which are classes.
    """
    for path in tree.images.pop((), []):
        tree.left_out.append(LeftOut(path=path, reason="an image outside the folder of a class"))
    tops = {parts[0] for parts in tree.images if len(parts) == 1}
    deeper = {parts[0] for parts in tree.images if len(parts) > 1}
    for name in sorted(tops):
        if beside := tree.subfolders.get((name,)):
            message = (
                f"{tree.root / name} holds images ({tree.images[name,][0].name}) and folders "
                f"({beside[0]}), so it could be a class or a domain: move the images or the "
                f"folders away; {LAYOUT}"
            )
            raise BadInput(message)
    if tops and deeper:
        message = (
            f"{tree.root}: images in {listed(sorted(tops))}, and folders of images in "
            f"{listed(sorted(deeper))}, so these could be classes or domains: move the smaller "
            f"group away. Nothing was bought; {LAYOUT}"
        )
        raise BadInput(message)
    if tops:
        domain = tree.root.resolve().name
        return [
            Labelled(path=path, domain=domain, class_name=parts[0], is_below=False)
            for parts, path in _in_order(tree)
        ]
    _require_direct_images(tree)
    return [
        Labelled(path=path, domain=parts[0], class_name=parts[1], is_below=len(parts) > 2)
        for parts, path in _in_order(tree)
    ]


def without_labels(tree: FolderTree) -> list[Labelled]:
    """The images at the root, or in the folder of each domain, in path order, with no class.

    Raises BadInput, naming the folders, for images in both places or in deeper folders.
    """
    deep = [str(Path(*parts)) for parts in sorted(tree.images) if len(parts) > 1]
    if deep:
        message = (
            f"{tree.root}: images in {listed(deep)}, below the folder of a domain. Images without "
            f"labels lie in {UNLABELLED_LAYOUT}; if the lowest folders are classes, leave out "
            "--unlabelled. Nothing was bought"
        )
        raise BadInput(message)
    if len(tree.images) > 1 and () in tree.images:
        folders = [parts[0] for parts in sorted(tree.images) if parts]
        message = (
            f"{tree.root} holds images ({tree.images[()][0].name}) and folders of images "
            f"({listed(folders)}): images without labels lie in {UNLABELLED_LAYOUT}. Move the "
            "images or the folders away. Nothing was bought"
        )
        raise BadInput(message)
    return [
        Labelled(
            path=path,
            domain=parts[0] if parts else tree.root.resolve().name,
            class_name=NO_CLASS,
            is_below=False,
        )
        for parts, path in _in_order(tree)
    ]


def _require_direct_images(tree: FolderTree) -> None:
    """A class may hold folders of more images, but not only folders."""
    for parts in sorted(tree.images):
        if len(parts) > 2 and parts[:2] not in tree.images:
            message = (
                f"{tree.root.joinpath(*parts)} holds images, and {tree.root.joinpath(*parts[:2])} "
                "above it, where the images of a class belong, holds none. If --data is a folder "
                f"too high, name {tree.root / parts[0]}; otherwise move the images up. Nothing was "
                f"bought; {LAYOUT}"
            )
            raise BadInput(message)


def _in_order(tree: FolderTree) -> Iterator[tuple[tuple[str, ...], Path]]:
    pairs = [(parts, path) for parts, paths in tree.images.items() for path in paths]
    yield from sorted(pairs, key=lambda pair: pair[1])


def left_out_lines(root: Path, left_out: Sequence[LeftOut]) -> list[str]:
    """One line for each reason and suffix: how many files, in which folders."""
    groups: dict[tuple[str, str], Counter[str]] = {}
    for one in left_out:
        suffix = one.path.suffix.lower() or "without a suffix"
        folders = groups.setdefault((one.reason, suffix), Counter())
        folders[shown_path(one.path.parent, root)] += 1
    lines = []
    for (reason, suffix), folders in groups.items():
        places = [f"{folder} ({count:,})" for folder, count in folders.most_common()]
        count = folders.total()
        files = f"{count:,} {'file' if count == 1 else 'files'}"
        lines.append(f"left out, {reason}: {files} {suffix} in {listed(places)}")
    return lines
