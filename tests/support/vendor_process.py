"""The whole vendor in a process of its own, on a free port, with one key."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.forked_commands import forked_commands

TOKEN = "sk_first_Zm9vYmFyYmF6cXV4Zm9vYmFy"


@dataclass(frozen=True, slots=True)
class Server:
    process: subprocess.Popen[str]
    url: str
    log: Path

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {TOKEN}"})

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextlib.contextmanager
def server_at(
    folder: Path, checkpoint: Path, *flags: str, is_forked: bool = True
) -> Iterator[Server]:
    """`teacher-server serve` on a free port, ready, with a first key of 50 units.

    With `is_forked` false its process imports everything anew, which takes some seconds longer.
    """
    log, url_file = folder / "log", folder / "url"
    url_file.unlink(missing_ok=True)
    environment = os.environ | {
        "TEACHER_FIRST_KEY": TOKEN,
        "TEACHER_FIRST_KEY_BUDGET": "50",
        "TEACHER_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    if is_forked:
        command = [str(forked_commands() / "teacher-server")]
    else:
        command = [sys.executable, "-m", "teacher_server"]
    command += ["serve", "--model", str(checkpoint), *flags]
    command += ["--port", "0", "--url-file", str(url_file)]
    with log.open("a") as stderr:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), log.read_text()
        url = url_file.read_text().strip()
        assert line == f"listening on {url}\n"
        deadline = time.monotonic() + 60
        while httpx.get(f"{url}/readyz").status_code != 200:
            assert time.monotonic() < deadline, log.read_text()
        yield Server(process, url, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
