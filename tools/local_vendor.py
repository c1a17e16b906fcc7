"""Run a vendor in a process of its own, for the demo, the benchmarks and the tests.

Each command is printed before it runs, as a user would type it.
"""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 180  # importing torch alone takes ten seconds on a cold two-core machine
STOP_SECONDS = 60
_STOP_AFTER_US = (
    "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"
)
"""Stops the vendor when this process is gone, even after kill -9: its standard input then ends."""


def run_command(*command: str) -> None:
    """Print and run one command of this project. Raises SystemExit with its code if it fails."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = subprocess.run(_installed(command), check=False).returncode
    if code:
        raise SystemExit(code)


def create_key_file(folder: Path, database: str, budget: int) -> Path:
    """Return the file that holds the API key, and create the key on the first call.

    `budget` is in queries. The key itself is never printed.
    """
    key_file = folder / "key"
    if not key_file.exists():
        command = (
            *("teacher-server", "keys", "create", "--database", database),
            *("--name", "demo", "--budget", str(budget), "--json"),
        )
        print(f"\n$ {shlex.join(command)}", flush=True)
        created = subprocess.run(_installed(command), check=True, stdout=subprocess.PIPE, text=True)
        key_file.touch(mode=0o600)
        key_file.write_text(json.loads(created.stdout)["key"])
    return key_file


@contextmanager
def local_vendor(
    folder: Path, database: str, *, model: str = "embedded", programs: Path | None = None
) -> Iterator[str]:
    """Start a vendor on a free loopback port, yield its URL, and stop it with SIGTERM at the end.

    It is stopped as well if this process is killed, so that it does not keep the ledger. Its log is
    `vendor.log` in the folder. `programs` is the folder of its command, by default that
    of this Python. Raises SystemExit if it does not start within START_SECONDS.
    """
    url_file = folder / "url"
    url_file.unlink(missing_ok=True)
    command = (
        *("teacher-server", "serve", "--port", str(_port(folder))),
        *("--database", database, "--url-file", str(url_file)),
        *(() if model == "embedded" else ("--model", model)),
    )
    print(f"\n$ {shlex.join(command)} &", flush=True)
    with (folder / "vendor.log").open("ab") as log:
        server = subprocess.Popen(_installed(command, programs), stdout=log, stderr=log)
    watcher = subprocess.Popen(
        [sys.executable, "-c", _STOP_AFTER_US, str(server.pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not url_file.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                message = f"the vendor did not start: see {folder / 'vendor.log'}"
                raise SystemExit(message)
            time.sleep(0.1)
        yield url_file.read_text().strip()
    finally:
        watcher.kill()
        watcher.communicate()
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=STOP_SECONDS)
        print(f"\nvendor stopped, exit code {server.returncode}")


def _installed(command: tuple[str, ...], programs: Path | None = None) -> list[str]:
    return [str((programs or Path(sys.executable).parent) / command[0]), *command[1:]]


def _port(folder: Path) -> int:
    """The port of the last run if it is still free, otherwise any free port.

    A cache remembers the URL that it bought from, so a second run should use the same port.
    """
    port_file = folder / "port"
    last = int(port_file.read_text()) if port_file.exists() else 0
    for port in (last, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            free = int(probe.getsockname()[1])
            port_file.write_text(str(free))
            return free
    message = "no free loopback port"
    raise SystemExit(message)
