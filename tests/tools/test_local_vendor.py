"""A vendor in a process of its own does not outlive the process that started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np

from tools.recording import write_recording

_STARTS_ONE = """\
import pathlib, sys
from tools.local_vendor import local_vendor

folder = pathlib.Path(sys.argv[1])
model = f"recorded:{folder / 'recording'}"
with local_vendor(folder, f"sqlite:///{folder}/ledger.db", model=model) as url:
    print(f"at {url}", flush=True)
    sys.stdin.read()
"""


def test_a_vendor_stops_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    text = ("text", b"a cat", np.ones(4))
    write_recording(tmp_path / "recording", name="one", source="test", answers=[text])
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        url = next(line[3:].strip() for line in owner.stdout if line.startswith("at "))
        assert httpx.get(f"{url}/livez").status_code == 200
        owner.kill()
    assert _is_gone(url)


def _is_gone(url: str) -> bool:
    """Whether the vendor stops answering within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/livez")
        except httpx.TransportError:
            return True
        time.sleep(0.1)
    return False
