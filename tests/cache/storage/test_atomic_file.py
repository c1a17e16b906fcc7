"""Atomic, durable writes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cache.storage.atomic_file import replace_file, replacing

WRITES_FOR_EVER = """
import sys
from pathlib import Path
from cache.storage.atomic_file import replacing

with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    """Readers see the old content until then."""
    path = tmp_path / "report.json"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Whatever was raised."""
    path = tmp_path / "report.json"
    replace_file(path, b"old")

    def fail() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """Only the temporary file remains, under a name of its own."""
    path = tmp_path / "report.json"
    replace_file(path, b"old")
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_bytes() == b"old"
    assert (tmp_path / f"report.json.{writer.pid}.part").read_bytes() == b"half"


def test_a_file_for_the_owner_only_is_never_readable_by_others(tmp_path: Path) -> None:
    """Not even while it is written."""
    path = tmp_path / "receipts.jsonl"
    old = os.umask(0)
    try:
        with replacing(path, owner_only=True) as file:
            part = Path(file.name)
            assert stat.S_IMODE(part.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
