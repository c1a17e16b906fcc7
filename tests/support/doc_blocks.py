"""Code blocks of the documentation, with the mark that says whether a test runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = re.compile(r"<!-- (run|run=vendor|needs=[a-z]+) -->")
NEEDS = frozenset(
    {"docker", "gpu", "hub", "kubernetes", "minutes", "postgresql", "server", "setup"}
)
"""What a block that no test runs may need: `setup` is the environment that make creates, `server` a
terminal of its own, because the command runs until it is interrupted."""
RUNNABLE = ("sh", "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced code block: where it begins, its language, its mark ("" without one), its code."""

    page: Path
    line: int
    language: str
    mark: str
    code: str

    @property
    def where(self) -> str:
        """`page:line`, from the root of the repository."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether a test runs it."""
        return self.mark.startswith("run")


def doc_pages() -> list[Path]:
    """Every page that a user reads: the README, CONTRIBUTING and docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        before = next((text for text in reversed(lines[:start]) if text.strip()), "")
        found = MARK.fullmatch(before.strip())
        blocks.append(
            Block(
                page=page,
                line=start + 1,
                language=lines[start].removeprefix("```").strip(),
                mark=found[1] if found else "",
                code="\n".join(lines[start + 1 : number]),
            )
        )
        start = None
    return blocks
