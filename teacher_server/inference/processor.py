"""What the processor of this machine computes by itself, as far as the system says."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CPUINFO: Final = Path("/proc/cpuinfo")
# What Linux calls the instructions of x86 and of ARM that multiply numbers in bfloat16.
_BF16: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def computes_in_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions for bfloat16; True where the system does not say."""
    if not cpuinfo.is_file():
        return True
    lines = (line.partition(":") for line in cpuinfo.read_text("utf-8", "replace").splitlines())
    words = {
        word
        for name, _, words in lines
        if name.strip() in ("flags", "Features")
        for word in words.split()
    }
    return not words or bool(_BF16 & words)
