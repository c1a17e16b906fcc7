"""The generated pages of docs/reference/, by file name."""

from __future__ import annotations

from pathlib import Path

from tools.reference.command_lines import command_page
from tools.reference.configuration import configuration_page
from tools.reference.http_api import http_page
from tools.reference.python_api import python_page

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
NOTE = "<!-- Written by `python -m tools.reference` from the code; edit that instead. -->\n\n"


def pages() -> dict[str, str]:
    """Each page's whole text."""
    made = {f"{program}.md": command_page(program) for program in PROGRAMS}
    made["configuration.md"] = configuration_page()
    made["http-api.md"] = http_page(FOLDER / "openapi.json")
    made["python-api.md"] = python_page()
    return {name: NOTE + text for name, text in made.items()}


PROGRAMS = ("distill-client", "teacher-server", "cache-report")
