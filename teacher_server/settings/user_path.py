"""Paths as a shell reads them."""

from __future__ import annotations

from pathlib import Path


def user_path(path: str | Path) -> Path:
    """The path with `~` as the home folder, as a shell reads it: a file, a variable or
    `--model=~/x` leaves it as it is. Raises ValueError where there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        message = f"{path}: there is no such home folder (a name with ~ is written ./{path})"
        raise ValueError(message) from error
