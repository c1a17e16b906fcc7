"""The splits that a manifest or a data set may give to its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

SPLITS = ("train", "validation", "test")
"""`train` is trained on; `validation` chooses weights, and without any the client draws it from
`train`; `test` only measures. A held-out domain is measured whole."""


def is_split(name: str) -> bool:
    """Whether an image may have this split; "" leaves the choice to the client."""
    return name in ("", *SPLITS)


def split_facts(splits: Iterable[str]) -> list[str]:
    """How many images each split has, in a sentence; nothing without splits."""
    counts = Counter(splits)
    if set(counts) <= {""}:
        return []
    parts = ", ".join(f"{counts[name]:,} {name}" for name in SPLITS if counts[name])
    drawn = "" if counts["validation"] else "; no validation: a fifth of train validates"
    return [f"split of the images: {parts}{drawn}; a held-out domain is measured whole"]
