"""Find a file in an installed wheel without importing its package."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from student.errors import BadInput


def installed(wheel: str, file_name: str) -> Path:
    """Return the path of the file. Raises BadInput, naming what to install, if it is missing."""
    try:
        found = [Path(str(f.locate())) for f in files(wheel) or [] if f.name == file_name]
    except PackageNotFoundError:
        found = []
    if not found:
        message = f"{file_name} of the wheel {wheel} is missing: pip install '.[demo]' in a clone"
        raise BadInput(message)
    return found[0]
