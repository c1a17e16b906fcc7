"""docker/install-chromium installs what is missing, says so, and never passes without Chromium."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "install-chromium"


def run_with(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only these programs exist, each with the shell code that it runs."""
    for name, code in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def apt_get(folder: Path) -> str:
    return f'echo "$@" >> {folder}/asked'


def test_nothing_is_installed_or_said_where_chromium_is(tmp_path: Path) -> None:
    done = run_with(tmp_path, chromium="", apt_get=apt_get(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("user", [{"id": "echo 0"}, {"id": "echo 1000", "sudo": 'shift; "$@"'}])
def test_root_and_who_may_use_sudo_install_it_after_it_was_said_what(
    tmp_path: Path, user: dict[str, str]
) -> None:
    done = run_with(tmp_path, apt_get=apt_get(tmp_path), true="", **user)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Installing Debian's packages chromium and fonts-dejavu-core")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["update", "install"]
    assert "chromium" in asked[1].split()


def test_who_may_not_install_is_told_what_to_run(tmp_path: Path) -> None:
    done = run_with(tmp_path, apt_get=apt_get(tmp_path), id="echo 1000", sudo="exit 1")
    assert done.returncode == 1
    assert "apt-get update && apt-get install -y" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_a_system_without_apt_is_told_what_is_missing(tmp_path: Path) -> None:
    done = run_with(tmp_path)
    assert done.returncode == 1
    assert "Chromium" in done.stderr


def test_an_installation_that_fails_ends_the_script(tmp_path: Path) -> None:
    done = run_with(tmp_path, apt_get="exit 100", id="echo 0")
    assert done.returncode == 100
