"""The reference pages are what the code says."""

from __future__ import annotations

import re

from student.commands.names import SUBCOMMANDS
from student.training.methods import METHODS
from tests.support.doc_blocks import ROOT
from tools.reference.command_lines import OWN_PARSERS
from tools.reference.pages import FOLDER, pages


def test_the_committed_pages_are_what_the_generator_writes() -> None:
    for name, text in pages().items():
        committed = (FOLDER / name).read_text(encoding="utf-8")
        assert committed == text, f"{name} is not current: run python -m tools.reference"


def test_every_subcommand_of_the_client_has_a_section() -> None:
    assert SUBCOMMANDS
    assert set(OWN_PARSERS["distill-client"]) == SUBCOMMANDS


def test_the_page_of_methods_names_every_method_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "methods.md").read_text(encoding="utf-8")
    table = page.split("\n\n")[2]
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", table, re.MULTILINE)) == set(METHODS)
