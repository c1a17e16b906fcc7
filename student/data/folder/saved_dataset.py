"""Reads a data set of Hugging Face's `datasets`: what `save_to_disk` wrote, or an imagefolder."""

from __future__ import annotations

import gc
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from student.data.folder.classes_file import CLASSES_FILE
from student.data.folder.embedded_image import MISSING, EmbeddedImage, load_saved
from student.data.folder.folder_tree import Found, Labelled, LeftOut, walk
from student.data.folder.names import listed, nfc
from student.data.folder.splits import SPLITS, is_split, split_facts
from student.data.folder.unseen import UNSEEN_FILE
from student.errors import BadInput

_MARKS = ("dataset_dict.json", "state.json")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def is_saved(root: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return any((root / name).is_file() for name in _MARKS)


def in_saved(root: Path) -> Found:
    """The images in what `save_to_disk` wrote, as the files that were put in.

    Columns: one of images, `label` and, if there is one, `domain`. The splits of the data set are
    those of its images; `train` alone is none. Raises BadInput without `datasets`, and for a data
    set that cannot be read so.
    """
    sets = load_saved(root)
    columns = _columns(root, sets)
    images: list[Labelled] = []
    for split, one in _by_split(root, sets):
        for number, row in enumerate(_rows(one, columns)):
            where = f"{root}: row {number} of {split or 'the data set'}"
            image = row[columns.image]
            if image is None or image["bytes"] is None:
                message = f"{where} holds no image. Nothing was bought"
                raise BadInput(message)
            # The name of an image inside the data set; nothing is read from this path.
            path = root / split / str(number) / Path(image["path"] or "image").name
            place = EmbeddedImage(folder=root, split=split, column=columns.image, row=number)
            given = _split_of(split, sets)
            images.append(_labelled(where, path, row, root, split=given, embedded=place))
    return _found(root, images, [], columns)


def in_imagefolder(root: Path) -> Found:
    """The images that `datasets` finds in an imagefolder, `root/<split>/<class>/*` or
    `root/<class>/*` or with a `metadata` table; the other files are left out.

    Raises BadInput, as `in_saved`.
    """
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise BadInput(MISSING.format(root)) from error
    with _closing_tables():
        try:
            columns, images = _in_splits(root)
            fault = None
        except BadInput:
            raise
        # A folder without images or with a broken table fails as pandas, Arrow or the library has
        # it. The exception itself would keep the table open.
        except Exception as error:
            fault = str(error)
    if fault is not None:
        message = f"{root} cannot be read as an imagefolder: {fault}. Nothing was bought"
        raise BadInput(message)
    tree = walk(root, own=(*_METADATA, CLASSES_FILE, UNSEEN_FILE))
    taken = {one.path.resolve() for one in images}
    left_out = [
        LeftOut(path=path, reason="an image that datasets does not read")
        for paths in tree.images.values()
        for path in paths
        if path.resolve() not in taken
    ]
    return _found(root, images, [*left_out, *tree.left_out], columns)


def _in_splits(root: Path) -> tuple[_Columns, list[Labelled]]:
    from datasets.data_files import DataFilesDict, get_data_patterns
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    patterns = get_data_patterns(str(root))
    files = DataFilesDict.from_patterns(patterns, base_path=str(root))
    # Not by `load_dataset`, which counts its calls at a server, and keeps a copy of the table.
    with TemporaryDirectory() as cache:
        sets = ImageFolder(data_files=files, cache_dir=cache).as_streaming_dataset()
    columns = _columns(root, sets)
    images: list[Labelled] = []
    for split, one in _by_split(root, sets):
        given = _split_of(split, sets)
        for number, row in enumerate(_rows(one, columns)):
            where = f"{root}: row {number} of {split}"
            path = Path(row[columns.image]["path"])
            images.append(_labelled(where, path, row, root, split=given))
    return columns, images


@contextmanager
def _closing_tables() -> Iterator[None]:
    """Close the tables that `datasets` reads: it leaves each open until it is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    image: str
    label: Any  # the feature of the column "label"
    has_domain: bool
    others: tuple[str, ...]


def _columns(root: Path, sets: Mapping[str, Any]) -> _Columns:
    import datasets

    features = next(iter(sets.values())).features or {}
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) != 1 or "label" not in features:
        message = (
            f"{root}: a data set needs one column of images and the column label; it has "
            f"{listed([f'{name} ({type(f).__name__})' for name, f in features.items()])}. Nothing "
            "was bought"
        )
        raise BadInput(message)
    known = {images[0], "label", "domain"}
    return _Columns(
        image=images[0],
        label=features["label"],
        has_domain="domain" in features,
        others=tuple(name for name in features if name not in known),
    )


def _by_split(root: Path, sets: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if unknown := [str(name) for name in sets if not is_split(str(name))]:
        message = (
            f"{root} has the split {listed(unknown)}; splits are {', '.join(SPLITS)}. Nothing was "
            "bought; rename it"
        )
        raise BadInput(message)
    return [(str(name), one) for name, one in sets.items()]


def _split_of(split: str, sets: Mapping[str, Any]) -> str:
    return "" if len(sets) == 1 and split == "train" else split


def _rows(one: Any, columns: _Columns) -> Iterator[dict[str, Any]]:
    """The rows, with the images as they are stored and the words of numbered classes."""
    import datasets

    for row in one.cast_column(columns.image, datasets.Image(decode=False)):
        for name in ("label", "domain"):
            feature = one.features.get(name)
            if isinstance(feature, datasets.ClassLabel) and isinstance(row[name], int):
                row[name] = feature.int2str(row[name]) if row[name] >= 0 else None
        yield row


def _labelled(
    where: str,
    path: Path,
    row: Mapping[str, Any],
    root: Path,
    *,
    split: str,
    embedded: EmbeddedImage | None = None,
) -> Labelled:
    if embedded is None and not path.is_file():
        message = f"{where}: there is no file {str(path)!r}. Nothing was bought"
        raise BadInput(message)
    named = {name: row[name] for name in ("label", "domain") if name in row}
    for name, value in named.items():
        if not isinstance(value, str | int) or not str(value).strip():
            message = f"{where} has no {name}, or one that is no text. Nothing was bought"
            raise BadInput(message)
    return Labelled(
        path=path,
        domain=nfc(str(named.get("domain", root.resolve().name))),
        class_name=nfc(str(named["label"])),
        is_below=False,
        split=split,
        embedded=embedded,
    )


def _found(root: Path, images: list[Labelled], left_out: list[LeftOut], columns: _Columns) -> Found:
    places = Counter(one.path for one in images)
    if twice := [str(path) for path, count in places.items() if count > 1]:
        message = f"{root}: several rows are one file: {listed(twice)}. Nothing was bought"
        raise BadInput(message)
    facts = split_facts(one.split for one in images)
    if columns.others:
        facts.append(f"columns that are not read: {listed(list(columns.others))}")
    return Found(
        root=root,
        images=sorted(images, key=_by_name),
        left_out=left_out,
        warnings=[],
        facts=facts,
    )


def _by_name(one: Labelled) -> tuple[str, str, str, Path]:
    """The order of the same images in folders of domains and classes."""
    return one.domain, one.class_name, one.path.name, one.path
