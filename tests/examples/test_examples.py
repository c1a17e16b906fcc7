"""The examples run as a user would run them, against a real vendor."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.forked_commands import forked_commands
from tools.local_vendor import local_vendor

# Two processes that import torch and one training, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[2] / "examples"
QUERIES = 2 * 3 * 4 + 3  # source styles x classes x training images, and a prompt per class
QUICK = (
    *("--target-domain", "outline", "--image-size", "64", "--views", "1", "--threads", "1"),
    *("--steps", "3", "--align-steps", "3", "--eval-every", "2", "--batch-per-domain", "4"),
)


def run(
    *command: str, folder: Path, exit_code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run an example in `folder`, with the project's commands on the PATH."""
    path = os.pathsep.join([str(forked_commands()), str(BIN), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Quickstart:
    """The folder and the output of a finished quickstart, and its key."""

    folder: Path
    output: str
    port: int

    @property
    def key(self) -> str:
        return (self.folder / "key").read_text().strip()


def quickstart(emoji: Path, folder: Path, port: int) -> Quickstart:
    script = str(EXAMPLES / "quickstart.sh")
    done = run(
        *("bash", script, str(emoji), *QUICK), folder=folder, WORK=str(folder), PORT=str(port)
    )
    return Quickstart(folder=folder, output=done.stdout, port=port)


@pytest.fixture(scope="module")
def finished(emoji: Path, tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return quickstart(emoji, tmp_path_factory.mktemp("quickstart"), port)


@pytest.fixture
def url(finished: Quickstart) -> Iterator[str]:
    """The quickstart's vendor, started again on its ledger and its port."""
    (finished.folder / "port").write_text(str(finished.port))
    database = f"sqlite:///{finished.folder}/ledger.db"
    with local_vendor(finished.folder, database) as running:
        yield running


def test_the_quickstart_buys_trains_audits_and_stops_its_vendor(finished: Quickstart) -> None:
    assert f"bought {QUERIES} queries" in finished.output
    assert re.search(r"accuracy", finished.output)
    assert (finished.folder / "student" / "student.safetensors").is_file()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", finished.port)) != 0


def test_a_purchase_by_the_openai_package_is_charged_once_and_found_by_the_audit_in_ci(
    finished: Quickstart, url: str
) -> None:
    """The audit passes before the purchase. Afterwards the ledger has a charge that the cache
    lacks, because the openai package stores nothing."""
    folder = finished.folder
    audit = ("bash", str(EXAMPLES / "audit_in_ci.sh"), str(folder / "paid-cache"), url)
    buy = (sys.executable, str(EXAMPLES / "openai_sdk.py"), url, "a photo of a bird", "a bird")
    run(*audit, folder=folder, TEACHER_API_KEY=finished.key)
    assert json.loads((folder / "audit.json").read_text())["differences"] == []

    first = run(*buy, folder=folder, TEACHER_API_KEY=finished.key).stdout
    again = run(*buy, folder=folder, TEACHER_API_KEY=finished.key).stdout
    assert "2 embeddings of 256 numbers from embedded" in first
    request = re.search(r"charged 2 queries as (\S+)", first)
    assert request is not None
    assert f"paid for earlier as {request[1]}; nothing was charged now" in again

    run(*audit, folder=folder, exit_code=1, TEACHER_API_KEY=finished.key)
    differences = json.loads((folder / "audit.json").read_text())["differences"]
    assert request[1] in json.dumps(differences[0])


def test_the_audit_in_ci_exits_with_2_if_it_cannot_reach_the_vendor(finished: Quickstart) -> None:
    cache, nowhere = str(finished.folder / "paid-cache"), "http://127.0.0.1:9"
    audit = ("bash", str(EXAMPLES / "audit_in_ci.sh"), cache, nowhere)
    run(*audit, folder=finished.folder, exit_code=2, TEACHER_API_KEY=finished.key)
