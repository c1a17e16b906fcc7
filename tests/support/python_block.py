"""The Python program on standard input, run as `python -` does, in a fork with torch imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program; its errors are those of this process."""
    sys.argv = ["-"]
    sys.path.insert(0, "")
    program = compile(sys.stdin.read(), "<stdin>", "exec", dont_inherit=True)
    exec(program, {"__name__": "__main__"})
