"""Logging to stderr, as text or as JSON, with the secret part of API keys replaced."""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal

import structlog

LogFormat = Literal["text", "json"]
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


class JsonFormatter(structlog.stdlib.ProcessorFormatter):
    """One JSON object a line: time (UTC), level, logger, event, and the fields of the record."""

    def __init__(self) -> None:
        super().__init__(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.stdlib.ExtraAdder(),
                structlog.processors.format_exc_info,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(log_format: LogFormat = "text") -> None:
    """Log this package and uvicorn from INFO, and all other libraries from WARNING, to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    )
    handler.addFilter(lambda record: not _is_misleading(record))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("teacher_server", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
