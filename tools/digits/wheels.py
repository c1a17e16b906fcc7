"""Finds a file inside an installed wheel, without importing what the wheel is for."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from student.errors import BadInput


def installed(wheel: str, file_name: str) -> Path:
    """The file of that name in the wheel. Raises BadInput, saying what to install, without it."""
    try:
        found = [Path(str(f.locate())) for f in files(wheel) or [] if f.name == file_name]
    except PackageNotFoundError:
        found = []
    if not found:
        message = f"no {file_name} of the wheel {wheel}: pip install '.[demo]' in a clone"
        raise BadInput(message)
    return found[0]
