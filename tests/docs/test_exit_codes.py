"""The table of exit codes is what the programs have."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest

from cache import commands
from student import cli, errors
from student.errors import StudentError
from teacher_server.cli import main as teacher_server
from tests.support.doc_blocks import ROOT

_ROW = re.compile(r"^\| ([\w-]*) ?\| (\d+) \|", re.MULTILINE)


def documented() -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    program = ""
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    for named, code in _ROW.findall(page):
        program = named or program
        found[program].add(int(code))
    return found


def of(root: type[StudentError]) -> set[int]:
    return {root.exit_code}.union(*(of(child) for child in root.__subclasses__()))


def test_the_client_has_the_codes_of_its_errors() -> None:
    assert errors.__doc__
    assert documented()["distill-client"] == {0, cli.INTERRUPTED} | of(StudentError)


def test_the_reports_have_the_codes_of_their_constants() -> None:
    named = {value for name, value in vars(commands).items() if name.startswith("EXIT_")}
    assert documented()["cache-report"] == named


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["openapi", "--help"], 0), (["keys", "list", "--config", "/nowhere"], 1), (["sell"], 2)],
)
def test_the_vendor_ends_with_the_codes_of_the_table(arguments: list[str], code: int) -> None:
    try:
        ended = teacher_server(arguments)
    except SystemExit as exit_:
        ended = int(exit_.code or 0)
    assert ended == code
    assert documented()["teacher-server"] == {0, 1, 2, cli.INTERRUPTED}
