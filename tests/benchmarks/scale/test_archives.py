"""Training from archives beside training from a mapped file, on a small table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.provenance import ROOT


def test_training_from_archives_takes_less_memory_than_the_table_has_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    small = ["--gigabytes", "0.6", "--steps", "2", "--backbone", "test_efficientnet"]
    # On a disk, not in the memory where other temporary files of the tests lie.
    small += ["--folder", "/var/tmp"]
    command = [sys.executable, "-m", "benchmarks.scale.archives", *small, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    result = json.loads(out.read_text())
    assert result["table_bytes"] > 5.9e8
    assert result["archives"] == 10
    assert result["memory"]["archives"] < result["table_bytes"]
    assert len(result["steps"]["mapped"]) == len(result["steps"]["archives"]) == 2
