"""The client container's entrypoint: which key, which images and which program it runs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[2] / "docker" / "client-entrypoint"
KEY = "sk_default_0123456789abcdef0123456789"
# Replaces Python: records its arguments and the environment from the entrypoint.
PYTHON = """#!/bin/sh
key=${TEACHER_API_KEY-none} file=${DISTILL_KEY_FILE-none} data=${DISTILL_DATA-none}
echo "$*; key=$key file=$file data=$data" >>CALLS
[ "$3" != demo-data ] || touch DEMO/.emoji-demo
"""


@dataclass(frozen=True, slots=True)
class Container:
    """A folder with what the volumes hold, and the entrypoint with its paths moved there."""

    root: Path

    @property
    def key_file(self) -> Path:
        return self.root / "keys" / "first-key"

    def run(self, *arguments: str, **environment: str) -> tuple[list[str], str]:
        """The calls of Python, with paths as in a container, and the standard error."""
        calls = self.root / "calls"
        calls.unlink(missing_ok=True)
        ended = subprocess.run(
            ["sh", self.root / "entrypoint", *arguments],
            env={"PATH": f"{self.root}:{os.environ['PATH']}"} | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return calls.read_text().replace(str(self.root), "").splitlines(), ended.stderr


@pytest.fixture
def container(tmp_path: Path) -> Container:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "first-key").write_text(KEY + "\n")
    (tmp_path / "demo").mkdir()
    script = ENTRYPOINT.read_text()
    for path in ("/keys", "/demo"):
        assert path in script
        script = script.replace(path, f"{tmp_path}{path}")
    (tmp_path / "entrypoint").write_text(script)
    python = tmp_path / "python"
    python.write_text(
        PYTHON.replace("CALLS", f"{tmp_path}/calls").replace("DEMO", f"{tmp_path}/demo")
    )
    python.chmod(0o755)
    return Container(tmp_path)


def test_with_nothing_given_the_made_key_and_the_demo_data_are_used(container: Container) -> None:
    # As Compose passes them: empty.
    empty = {"TEACHER_API_KEY": "", "DISTILL_DATA": ""}
    calls, note = container.run("--budget", "9", **empty)
    assert calls == [
        "-m student demo-data --out /demo; key=none file=/keys/first-key data=/demo",
        "-m student --budget 9; key=none file=/keys/first-key data=/demo",
    ]
    assert "DISTILL_DATA is not set: laying out the demo data, once" in note
    calls, note = container.run("--budget", "9", **empty)
    assert calls == ["-m student --budget 9; key=none file=/keys/first-key data=/demo"]
    assert note == ""


def test_a_key_and_a_folder_that_are_given_win(container: Container) -> None:
    calls, note = container.run("--budget", "9", TEACHER_API_KEY="sk_mine", DISTILL_DATA="/data")
    assert calls == ["-m student --budget 9; key=sk_mine file=none data=/data"]
    assert note == ""


def test_a_key_file_that_is_given_wins_over_the_made_key(container: Container) -> None:
    calls, _ = container.run(DISTILL_KEY_FILE="/mine", DISTILL_DATA="/data")
    assert calls == ["-m student; key=none file=/mine data=/data"]


@pytest.mark.parametrize(
    "arguments", [("predict", "a.png"), ("plan", "rows"), ("forecast", "rows"), ("bench", "--help")]
)
def test_a_command_that_reads_no_images_lays_out_no_demo_data(
    container: Container, arguments: tuple[str, ...]
) -> None:
    container.key_file.unlink()
    calls, note = container.run(*arguments)
    assert [call.partition(";")[0] for call in calls] == [f"-m student {' '.join(arguments)}"]
    assert note == ""


def test_a_purchase_without_a_key_points_at_the_vendors_log(container: Container) -> None:
    container.key_file.unlink()
    calls, note = container.run("--budget", "9", DISTILL_DATA="/data")
    assert calls == ["-m student --budget 9; key=none file=none data=/data"]
    assert "The vendor left no key in /keys/first-key" in note.replace(str(container.root), "")


def test_cache_report_gets_the_made_key_and_no_demo_data(container: Container) -> None:
    calls, _ = container.run("cache-report", "audit", "--vendor", "http://teacher:8000")
    (call,) = calls
    assert call.startswith(f"-m cache audit --vendor http://teacher:8000; key={KEY} ")
    calls, _ = container.run("cache-report", "summary", TEACHER_API_KEY="sk_mine")
    assert calls[0].startswith("-m cache summary; key=sk_mine file=none")


def test_an_argument_with_spaces_stays_one_argument(container: Container) -> None:
    (container.root / "python").write_text(
        '#!/bin/sh\nprintf "[%s]" "$@" >' + f"{container.root}/calls"
    )
    calls, _ = container.run("predict", "my photo.png")
    assert calls == ["[-m][student][predict][my photo.png]"]


def test_a_failure_to_lay_out_the_demo_data_ends_the_run(container: Container) -> None:
    (container.root / "python").write_text("#!/bin/sh\nexit 7\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        container.run("--budget", "9")
    assert caught.value.returncode == 7
