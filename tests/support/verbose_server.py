"""`teacher-server serve` with every logger at its most verbose; options are JSON in argv."""

from __future__ import annotations

import json
import logging
import sys

from teacher_server.server.run import serve
from teacher_server.settings import load_settings

LOGGERS = ("asyncio", "httpcore", "httpx", "PIL", "python_multipart", "sqlalchemy", "alembic")


def _announce(url: str) -> None:
    for name in ("", "teacher_server", "uvicorn"):
        logging.getLogger(name).setLevel(1)
    _show(f"listening on {url}")


def _show(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Library loggers are set before the start: an engine reads its level when it is created.
    for name in LOGGERS:
        logging.getLogger(name).setLevel(1)
    serve(load_settings(json.loads(sys.argv[1])), announce=_announce, show=_show)
