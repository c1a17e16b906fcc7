"""Tells the emoji demo data from a user's own images."""

from pathlib import Path

MARK = ".emoji-demo"


def mark(root: Path) -> None:
    """Says that this folder holds the demo data."""
    (root / MARK).touch()


def is_demo_data(root: Path) -> bool:
    """Whether `mark` was here."""
    return (root / MARK).exists()
