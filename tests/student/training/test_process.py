"""What a process sets for training, each tested in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from student.training.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * 2**20 for _ in range(64)]
    del blocks
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""
_POLICY = """
import os, sys
from student import cli
cli._run = lambda *_: print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules) or 0
cli.main(["predict"])
"""


def _printed(code: str, *arguments: str, **environment: str) -> str:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**kept, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_threads_sleep_while_they_wait_and_torch_is_loaded_later() -> None:
    assert _printed(_POLICY) == "PASSIVE False"


def test_a_users_own_way_of_waiting_is_kept() -> None:
    assert _printed(_POLICY, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE False"
    assert _printed(_POLICY, GOMP_SPINCOUNT="1000") == "None False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_a_step_frees_is_used_by_the_next() -> None:
    assert int(_printed(_FAULTS, "keep")) < 100
    assert int(_printed(_FAULTS, "return")) > 10_000
    assert int(_printed(_FAULTS, "keep", MALLOC_MMAP_THRESHOLD_="131072")) > 10_000
