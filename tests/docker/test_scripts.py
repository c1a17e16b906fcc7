"""The project's shell scripts look for each program that they need by itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    ROOT / "Makefile",
    ROOT / ".ci" / "run",
    *(p for p in (ROOT / "docker").iterdir() if p.is_file() and p.read_text().startswith("#!")),
    *(ROOT / "docker" / "compose-tests").iterdir(),
    *(ROOT / "examples").glob("*.sh"),
]
# `command -v a b c` is true if any of the three exists; so are `type a b` and `hash a b`.
_SEVERAL = re.compile(
    r"\b(?:command -v|type -p|hash)[ \t]+[\w./\"$-]+[ \t]+(?![&|;>)\d])[\w./\"$-]"
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_asks_for_several_programs_at_once(script: Path) -> None:
    lines = [line.partition("#")[0] for line in script.read_text().splitlines()]
    assert [line for line in lines if _SEVERAL.search(line)] == []


def test_compose_test_installs_each_program_that_is_missing(tmp_path: Path) -> None:
    text = (ROOT / "docker" / "compose-test").read_text()
    (need,) = [line for line in text.splitlines() if line.startswith("need() ")]
    (tmp_path / "iptables").touch(mode=0o755)
    asked = "need iptables iptables; need dockerd docker.io"
    script = f'missing=()\n{need}\n{asked}\necho "${{missing[*]}}"'
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "docker.io\n"
