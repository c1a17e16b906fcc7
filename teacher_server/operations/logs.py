"""Logging to stderr, one line each, with whatever looks like a key blotted out."""

from __future__ import annotations

import logging
import re
import sys

_SECRET = re.compile(r"sk_([A-Za-z0-9-]+)_[A-Za-z0-9_-]{8,}")


def redacted(text: str) -> str:
    """The text with the secret part of every API key replaced."""
    return _SECRET.sub(r"sk_\1_***", text)


class RedactingFormatter(logging.Formatter):
    """Blots keys out of the finished line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _is_misleading(record: logging.LogRecord) -> bool:
    # open_clip logs to the root logger that a model has random weights when it is told, as here,
    # to leave loading to its caller.
    return record.module == "factory" and record.funcName == "create_model"


def configure_logging() -> None:
    """Send our own and the server's lines, and everybody's warnings, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(lambda record: not _is_misleading(record))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("teacher_server", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
