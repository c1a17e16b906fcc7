"""The commit that a result was measured at."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commit() -> str:
    """Return the commit hash of the working tree, followed by "+" if it has uncommitted changes.

    Changes under docs/ do not count: results and generated pages are written there. Returns
    "unknown" outside a git repository.
    """
    head = _git("rev-parse", "HEAD") or "unknown"
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return head + ("+" if changes else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
