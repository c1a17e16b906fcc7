"""Marks the folder of the emoji demo data, to distinguish it from a user's own images."""

from pathlib import Path

MARK = ".emoji-demo"


def mark(root: Path) -> None:
    """Mark this folder as the demo data."""
    (root / MARK).touch()


def is_demo_data(root: Path) -> bool:
    """Whether the folder is marked."""
    return (root / MARK).exists()
