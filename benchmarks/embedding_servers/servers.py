"""Servers to load, each in a process of its own: the vendor as it is sold, and without a ledger."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.embedding_servers.load import Load, Measured, send

_START_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of embeddings, and how long it took from start to ready, in seconds."""

    port: int
    path: str
    model: str
    headers: tuple[tuple[str, str], ...]
    start_seconds: float

    def load(self, files: Sequence[bytes], *, clients: int, items: int, requests: int) -> Measured:
        """Send `requests` requests of `items` of these image files, from `clients` at a time."""
        bodies = [
            _body(self.model, [files[(start + n) % len(files)] for n in range(items)])
            for start in range(0, len(files), items)
        ]
        return send(
            Load(
                port=self.port,
                path=self.path,
                bodies=bodies,
                items=items,
                clients=clients,
                requests=requests,
                headers=self.headers,
                name=secrets.token_hex(8),
            )
        )


def _body(model: str, files: Sequence[bytes]) -> bytes:
    document = {
        "model": model,
        "encoding_format": "base64",
        "modality": "image",
        "input": ["data:image/jpeg;base64," + base64.b64encode(file).decode() for file in files],
    }
    return json.dumps(document).encode()


def photos(count: int, size: int) -> list[bytes]:
    """Smooth square JPEG files of `size` pixels, all different."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(count):
        colours = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8))
        buffer = BytesIO()
        colours.resize((size, size), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


@contextmanager
def vendor(
    model: str = "embedded",
    *,
    dtype: str = "fp32",
    engine: str = "torch",
    has_ledger: bool = True,
    threads: int = 0,
    core: int | None = None,
) -> Iterator[Server]:
    """`teacher-server serve` with its default settings, but for the limits of a key.

    Its model computes with so many `threads`, with 0 on all cores. With `core`, it runs on that
    core alone.
    """
    token = f"sk_bench_{secrets.token_hex(16)}"
    program = "teacher_server" if has_ledger else "benchmarks.embedding_servers.null_ledger"
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "MODEL": model,
            "DTYPE": dtype,
            "ENGINE": engine,
            "PORT": "0",
            "URL_FILE": f"{folder}/url",
            "DATABASE": f"sqlite:///{folder}/ledger.db",
            "FIRST_KEY": token,
            "FIRST_KEY_BUDGET": str(10**9),
            "REQUESTS_PER_MINUTE": str(10**6),
        }
        command = [sys.executable, "-m", program, "serve"]
        if threads:
            options["THREADS"] = str(threads)
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        environment = {f"TEACHER_{name}": value for name, value in options.items()}
        with _running(command, environment) as process:
            seconds, port = _wait_until_ready(process, Path(folder, "url"))
            name = "embedded" if model == "embedded" else Path(model).name
            variant = [one for one in (dtype, engine) if one not in ("fp32", "torch")]
            identity = "+".join((name, *variant))
            headers = (("Authorization", f"Bearer {token}"),)
            yield Server(port, "/v1/embeddings", identity, headers, seconds)


def _wait_until_ready(process: subprocess.Popen[bytes], url_file: Path) -> tuple[float, int]:
    started = time.perf_counter()
    while not url_file.exists():
        _require_running(process, started)
    port = int(url_file.read_text().strip().rsplit(":", 1)[1])
    while not answers(port, "/readyz"):
        _require_running(process, started)
    return time.perf_counter() - started, port


def _require_running(process: subprocess.Popen[bytes], started: float) -> None:
    if process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
        message = f"the server did not start (exit code {process.poll()})"
        raise RuntimeError(message)
    time.sleep(0.02)


def answers(port: int, path: str) -> bool:
    """Whether a server on this port answers the path with 200."""
    import httpx

    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
