"""Runs the documentation's blocks as a reader would, against a real vendor, with short settings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from student.data.demo.lay_out import all_emoji
from student.data.demo.styles import styles
from tests.support.doc_blocks import ROOT, Block
from tests.support.forked_commands import forked_commands

DOCUMENTED_URL = "http://127.0.0.1:8000"
START_SECONDS = 180
# The pages' own commands, with a backbone and steps that take seconds.
SHORT = {
    "DISTILL_TARGET_DOMAIN": "sketch",
    "DISTILL_BACKBONE": "test_efficientnet",
    "DISTILL_WEIGHTS": "none",
    "DISTILL_IMAGE_SIZE": "32",
    "DISTILL_STEPS": "3",
    "DISTILL_ALIGN_STEPS": "3",
    "DISTILL_EVAL_EVERY": "3",
    "DISTILL_BATCH_PER_DOMAIN": "4",
    "DISTILL_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
_DOMAINS = {"photo": "apple", "painting": "google", "sketch": "outline"}
_CLASSES = ("bird", "drink", "heart")
_EACH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A reader's folder, and the vendor that the pages expect at `DOCUMENTED_URL`."""

    folder: Path
    url: str = DOCUMENTED_URL
    api_key: str = ""

    def run(self, blocks: Sequence[Block]) -> None:
        """Runs the blocks in one shell, in order. AssertionError names the block that failed."""
        script = ["set -euo pipefail"]
        for block in blocks:
            script.append(f"echo '== {block.where}' >&2")
            code = block.code.replace(DOCUMENTED_URL, self.url)
            if block.language == "python":
                code = f"python-block <<'END_OF_BLOCK'\n{code}\nEND_OF_BLOCK"
            script.append(code)
        self.shell("\n".join(script))

    def shell(self, script: str) -> None:
        """Runs a shell script in the folder. AssertionError with its output if it fails."""
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=_environment({"TEACHER_URL": self.url, "TEACHER_API_KEY": self.api_key}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    def copy(self, folder: Path, *, api_key: str) -> Sandbox:
        """Another reader who has done the same, with a key of their own; without the ledger."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("vendor"))
        return Sandbox(folder=folder, url=self.url, api_key=api_key)

    @contextmanager
    def vendor(self, block: Block) -> Iterator[str]:
        """The URL of the vendor that this block starts, on a free port; stopped at the end."""
        url_file = self.folder / "url"
        extra = {"TEACHER_PORT": "0", "TEACHER_URL_FILE": str(url_file)}
        with (self.folder / "vendor.log").open("wb") as log:
            server = subprocess.Popen(
                ["bash", "-c", f"exec {block.code}"],
                cwd=self.folder,
                env=_environment(extra),
                stdout=log,
                stderr=log,
            )
        try:
            until = time.monotonic() + START_SECONDS
            while not url_file.exists():
                assert server.poll() is None, (self.folder / "vendor.log").read_text()
                assert time.monotonic() < until, f"no vendor after {START_SECONDS} seconds"
                time.sleep(0.1)
            yield url_file.read_text().strip()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)


def new_sandbox(folder: Path) -> Sandbox:
    """A folder with a few emoji as images of three domains, and the repository's examples."""
    draw = styles()
    for class_name in _CLASSES:
        chosen = [emoji for emoji in all_emoji() if emoji.class_name == class_name][:_EACH]
        for domain, style in _DOMAINS.items():
            (folder / "data" / domain / class_name).mkdir(parents=True)
            for emoji in chosen:
                image = draw[style](emoji.codepoints)
                assert image is not None
                image.save(folder / "data" / domain / class_name / f"{emoji.stem}.png")
    (folder / "examples").symlink_to(ROOT / "examples")
    return Sandbox(folder=folder)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment with the project's commands first on the path, and no settings but ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISTILL_", "TEACHER_"))}
    folders = (forked_commands(), Path(sys.executable).parent, os.environ.get("PATH", ""))
    path = os.pathsep.join(map(str, folders))
    return {**kept, **SHORT, "PATH": path, **{k: v for k, v in extra.items() if v}}
