"""Logging to stderr, with the secret part of API keys replaced."""

from __future__ import annotations

import logging
import re
import sys

_SECRET = re.compile(r"sk_([A-Za-z0-9-]+)_[A-Za-z0-9_-]{8,}")


def redact(text: str) -> str:
    """The text with the secret part of every API key replaced."""
    return _SECRET.sub(r"sk_\1_***", text)


class RedactingFormatter(logging.Formatter):
    """Redacts keys in the formatted line, including its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _is_misleading(record: logging.LogRecord) -> bool:
    # When the caller loads the weights, as here, open_clip warns on the root logger that the model
    # has random weights.
    return record.module == "factory" and record.funcName == "create_model"


def configure_logging() -> None:
    """Log this package and uvicorn from INFO, and all other libraries from WARNING, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(lambda record: not _is_misleading(record))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("teacher_server", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
