"""The five data sets of DomainBed: their contents and their folders."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from student.errors import BadInput

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A published data set; `domains` maps each folder to its number of images."""

    name: str
    folder: str
    inner: str | None
    classes: int
    steps: int
    eval_every: int
    domains: dict[str, int]

    @property
    def images(self) -> int:
        return sum(self.domains.values())


def _read(name: str, facts: dict[str, Any]) -> Dataset:
    return Dataset(**{"name": name, "inner": None, **facts})


DATASETS = {
    name: _read(name, facts)
    for name, facts in tomllib.loads((HERE / "datasets.toml").read_text()).items()
}


def find(root: Path, dataset: Dataset) -> Path:
    """Returns the folder that contains the domains of a data set.

    Accepts DomainBed's layout and that of the unpacked archive. Raises BadInput if the folder is
    missing, or contains other folders, which would be read as domains.
    """
    names = [dataset.folder, *([dataset.inner] if dataset.inner else [])]
    places = [root / name for name in names]
    if dataset.inner:
        places.append(root / dataset.folder / dataset.inner)
    for place in places:
        found = set(_folders(place))
        missing = [name for name in dataset.domains if name not in found]
        if missing:
            continue
        if more := sorted(found - set(dataset.domains)):
            message = (
                f"{place} holds folders that are no domains of {dataset.name}, and would be "
                f"trained on: {', '.join(more)}; move them away"
            )
            raise BadInput(message)
        return place
    looked = ", ".join(str(place) for place in places)
    message = (
        f"{dataset.name} is not under {root}: no folder holds {', '.join(dataset.domains)} "
        f"(looked in {looked}); benchmarks/paper/README.md says where to get it"
    )
    raise BadInput(message)


def _folders(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    return [
        entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    ]
