"""Standard output as programs meet it: a pipe that its reader closes, a terminal without UTF-8."""

from __future__ import annotations

import os
import sys


def accept_any_text() -> None:
    """Print what the terminal's encoding lacks as an escape (\\xe9) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send what is still printed nowhere: the reader of the pipe, such as `head`, has closed it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
