"""Training from archives beside training from a mapped file, on a small table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.provenance import ROOT


def test_training_from_archives_takes_less_memory_than_the_table_has_bytes(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    small = ["--gigabytes", "0.6", "--steps", "2", "--store-ms", "200"]
    # On a disk, not in the memory where other temporary files of the tests lie.
    small += ["--backbone", "test_efficientnet", "--folder", "/var/tmp"]
    command = [sys.executable, "-m", "benchmarks.scale.archives", *small, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    result = json.loads(out.read_text())
    assert result["table_bytes"] > 5.9e8
    assert result["archives"] == 10
    assert result["memory"]["archives"] < result["table_bytes"]
    for measured in ("seconds", "seconds_of_reading"):
        assert {kind: len(took) for kind, took in result["steps"][measured].items()} == {
            "mapped": 2,
            "archives": 2,
            "store": 2,
        }
