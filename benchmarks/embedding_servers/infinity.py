"""infinity-emb as a peer: an environment of its own, made by uv, and a CLIP of the same size."""

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

REQUIREMENTS = (
    "infinity-emb[server,torch,vision]==0.0.78",
    "aiohttp",
    "transformers==4.47.1",
    "click<8.2",
)
_PROGRAM = """
import sys
from pathlib import Path
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
import json, torch

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
CLIPModel(CLIPConfig()).save_pretrained(folder)
letters = [chr(n) for n in range(33, 127)]
tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
(folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
(folder / "merges.txt").write_text("#version: 0.2\\n")
tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)
"""
_START_SECONDS = 600


def is_installed(folder: Path) -> bool:
    """Whether the environment and the model have been made in `folder`."""
    return (folder / "model" / "preprocessor_config.json").exists()


def install(folder: Path) -> None:
    """Make the environment and a CLIP ViT-B/32 with random weights in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", str(folder / "venv")], check=True)
    python = str(folder / "venv" / "bin" / "python")
    installing = [*uv, "pip", "install", "--quiet", "--python", python, *REQUIREMENTS]
    subprocess.run(installing, check=True)
    subprocess.run([python, "-c", _PROGRAM, str(folder / "model")], check=True)


@contextmanager
def infinity(folder: Path) -> Iterator[Server]:
    """infinity with the model, in fp32 on the CPU, until the block ends."""
    port = free_port()
    command = [str(folder / "venv" / "bin" / "infinity_emb"), "v2"]
    command += ["--model-id", str(folder / "model"), "--served-model-name", "clip"]
    command += ["--device", "cpu", "--no-bettertransformer", "--dtype", "float32"]
    command += ["--no-model-warmup"]  # the first round warms up both sides
    command += ["--port", str(port), "--host", "127.0.0.1"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment.pop("PYTHONPATH", None)  # its packages are not ours
    with running(
        command, environment, port, ready_path="/health", seconds=_START_SECONDS
    ) as started:
        yield Server(port, "/embeddings", "clip", (), started)
