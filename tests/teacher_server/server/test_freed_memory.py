"""What a batch frees stays with the process, tested in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from teacher_server.server.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [b"x" * 2**20 for _ in range(64)]
    del blocks
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


def faults(how: str, **environment: str) -> int:
    """The page faults of the last of ten allocations of 64 MiB."""
    command = [sys.executable, "-c", _FAULTS, how]
    return int(subprocess.check_output(command, env={**os.environ, **environment}, text=True))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_a_batch_frees_is_used_by_the_next_unless_the_user_set_glibc() -> None:
    assert faults("keep") < 100
    assert faults("return") > 10_000
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072") > 10_000
