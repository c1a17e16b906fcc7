"""What this machine must have: a free port, open files, a clock, and folders with room."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from teacher_server.doctor.finding import Finding, fault, ok, warning
from teacher_server.doctor.read_only import sqlite_file
from teacher_server.ledger.clock import unix_ms
from teacher_server.operations.network import client_options
from teacher_server.ray_serve.requirements import require_ray
from teacher_server.server.connections import possible_connections
from teacher_server.server.listener import listen_on
from teacher_server.settings import VendorSettings

_LITTLE_ROOM: Final = 2**30  # bytes: some hundred thousand stored answers
_LEAST_ROOM: Final = 2**26  # bytes: the largest answers of some requests at once, and the WAL
_EARLIEST_MS: Final = 1_767_225_600_000  # the start of 2026: no version is older


def port(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the address can be listened on: it is bound for a moment, and nobody is accepted."""
    with listen_on(settings.host, settings.port) as listener:
        host, number = listener.getsockname()[:2]
    chosen = f"{host}:{number}" if settings.port else f"{host}, a port that is free at the start"
    yield ok("port", f"{chosen} can be listened on")


def serving(settings: VendorSettings) -> Iterator[Finding]:
    """Whether Ray Serve can serve, if it is to."""
    if settings.serve_with == "ray":
        require_ray(settings)
        yield ok("serving", "Ray Serve is installed, and its replicas can share the ledger")


def open_files(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the system's limit on open files allows as many connections as are set."""
    possible = possible_connections(settings.max_connections)
    detail = f"{possible:,} of {settings.max_connections:,} connections fit the hard limit"
    if possible < settings.max_connections:
        fix = (
            "raise the hard limit on open files (ulimit -Hn, LimitNOFILE of systemd, ulimits of "
            f"Compose), or set --max-connections {possible}"
        )
        yield warning("open files", detail, fix)
    else:
        yield ok("open files", detail)


def clock(_: VendorSettings) -> Iterator[Finding]:
    """Whether the clock can be right at all; keys expire and receipts are dated by it."""
    now = unix_ms()
    shown = f"{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if now < _EARLIEST_MS:
        yield fault("clock", f"it says {shown}", "set it, such as by NTP, before anything is sold")
    else:
        yield ok("clock", shown)


def folders(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the folders that the vendor writes to can be written, and the room on their disks."""
    written = {
        "the ledger": sqlite_file(settings.database),
        "the first key": settings.first_key_file,
        "the URL": settings.url_file,
    }
    for what, file in written.items():
        if file is None:
            continue
        folder = _nearest_folder(file)
        if not os.access(folder, os.W_OK | os.X_OK):
            fix = f"let the user {os.getuid()} write it, or name another place"
            yield fault("disk", f"{folder}, for {what}, cannot be written", fix)
            continue
        free = shutil.disk_usage(folder).free
        detail = f"{folder}, for {what}: {free / 2**30:,.1f} GiB free"
        if free < _LEAST_ROOM:
            yield fault("disk", detail, "make room: on a full disk nothing is sold")
        elif free < _LITTLE_ROOM:
            yield warning("disk", detail, "make room, or `teacher-server ledger purge` old answers")
        else:
            yield ok("disk", detail)


def webhook(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the proxy and the certificates for the webhook can be used; nothing is sent."""
    if settings.webhook_url is not None:
        client_options(str(settings.webhook_url))
        yield ok("webhook", f"signed posts go to {settings.webhook_url.host}")


def available_bytes() -> int | None:
    """Memory that can still be taken, within the limit of a container; None if it is not known."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:  # not Linux
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and (most := limit.read_text("ascii").strip()) != "max":
        found.append(max(0, int(most) - int(used.read_text("ascii"))))
    return min(found, default=None)


def _nearest_folder(file: Path) -> Path:
    """The folder of the file, or the one in which the missing folders would be made."""
    return next(folder for folder in file.absolute().parents if folder.is_dir())
