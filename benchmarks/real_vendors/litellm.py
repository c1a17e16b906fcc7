"""LiteLLM's proxy in an environment of its own, made by uv, in front of another server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.embedding_servers.peer_process import free_port, running
from benchmarks.embedding_servers.servers import Server

REQUIREMENTS = ("litellm[proxy]==1.108.7",)
_START_SECONDS = 300
_MASTER_KEY = "sk-proxy-0123456789abcdef"


def is_installed(folder: Path) -> bool:
    """Whether the environment has been made in `folder`."""
    return (folder / "venv" / "bin" / "litellm").exists()


def install(folder: Path) -> None:
    """Make the environment in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    installing = [*uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS]
    subprocess.run(installing, check=True)


@contextmanager
def proxy(folder: Path, behind: Server) -> Iterator[Server]:
    """The proxy before a server of OpenAI's shape, without retries, until the block ends."""
    port = free_port()
    key = dict(behind.headers)["Authorization"].removeprefix("Bearer ")
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: clip\n"
        "    litellm_params:\n"
        f"      model: openai/{behind.model}\n"
        f"      api_base: http://127.0.0.1:{behind.port}/v1\n"
        f"      api_key: {key}\n"
        "      max_retries: 0\n"
        "litellm_settings:\n"
        "  num_retries: 0\n"
        "  telemetry: false\n"
        "general_settings:\n"
        f"  master_key: {_MASTER_KEY}\n"
    )
    command = [str(folder / "venv" / "bin" / "litellm"), "--config", str(config)]
    command += ["--port", str(port), "--host", "127.0.0.1"]
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    environment.pop("PYTHONPATH", None)  # its packages are not ours
    with running(
        command, environment, port, ready_path="/health/liveliness", seconds=_START_SECONDS
    ) as started:
        headers = (("Authorization", f"Bearer {_MASTER_KEY}"),)
        yield Server(port, "/v1/embeddings", "clip", headers, started)
