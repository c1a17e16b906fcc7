"""docker/install-test-programs installs what is missing, says so, and never passes without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "install-test-programs"


def run_with(folder: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run the script where only these programs exist, each with the shell code that it runs."""
    for name, code in programs.items():
        program = folder / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)],
        env={"PATH": str(folder), "SYSTEM_PROGRAMS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def apt_get(folder: Path) -> str:
    return f'echo "$@" >> {folder}/asked'


def test_nothing_is_installed_or_said_where_the_programs_are(tmp_path: Path) -> None:
    done = run_with(tmp_path, chromium="", pgbouncer="", apt_get=apt_get(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("user", [{"id": "echo 0"}, {"id": "echo 1000", "sudo": 'shift; "$@"'}])
def test_root_and_who_may_use_sudo_install_them_after_it_was_said_what(
    tmp_path: Path, user: dict[str, str]
) -> None:
    done = run_with(tmp_path, apt_get=apt_get(tmp_path), true="", **user)
    assert done.returncode == 0, done.stderr
    assert "chromium fonts-dejavu-core pgbouncer" in done.stdout
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["update", "install"]
    assert {"chromium", "pgbouncer"} <= set(asked[1].split())


@pytest.mark.parametrize("there", ["chromium", "pgbouncer"])
def test_only_the_missing_one_is_installed(tmp_path: Path, there: str) -> None:
    done = run_with(tmp_path, apt_get=apt_get(tmp_path), id="echo 0", **{there: ""})
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().splitlines()[1].split()
    assert {"chromium", "pgbouncer"} & set(asked) == {"chromium", "pgbouncer"} - {there}


def test_who_may_not_install_is_told_what_to_run(tmp_path: Path) -> None:
    done = run_with(tmp_path, apt_get=apt_get(tmp_path), id="echo 1000", sudo="exit 1")
    assert done.returncode == 1
    assert "apt-get update && apt-get install -y" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_a_system_without_apt_is_told_what_is_missing(tmp_path: Path) -> None:
    done = run_with(tmp_path)
    assert done.returncode == 1
    assert "Chromium and PgBouncer" in done.stderr


def test_an_installation_that_fails_ends_the_script(tmp_path: Path) -> None:
    done = run_with(tmp_path, apt_get="exit 100", id="echo 0")
    assert done.returncode == 100
