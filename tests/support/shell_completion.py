"""Asks bash what it would complete, with a script that a program has printed."""

from __future__ import annotations

import subprocess
from pathlib import Path

_ASK = """
source "$1"; shift
found=$(complete -p "$1"); function=${found#*-F }; function=${function%% *}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"
$function "$1" "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completions(script: str, folder: Path, *words: str) -> list[str]:
    """What the last of these words may become, in this folder."""
    path = folder / "completion.bash"
    path.write_text(script)
    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK, "bash", str(path), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()
