"""Finds model weights, and checks that loading them cannot run code."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from teacher_server.errors import ModelUnavailable, NotDownloaded, UnsafeCheckpoint

EMBEDDED = Path(__file__).resolve().parent.parent / "embedded"
CONFIG_NAME = "open_clip_config.json"
ALTERNATIVES = (
    "instead, use TEACHER_MODEL=embedded (part of the package), TEACHER_MODEL=/path/to/a/folder "
    f"with {CONFIG_NAME} and the weights, or a Hugging Face cache that contains them "
    "(mount it and set HF_HOME)"
)
_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def model_unavailable(message: str) -> ModelUnavailable:
    """The error for a model that cannot be found; it lists the alternatives."""
    return ModelUnavailable(f"{message}; {ALTERNATIVES}")


def sha256_of(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_checkpoint(folder: Path) -> Path:
    """The weights in a local folder: a file with open_clip's usual name, or the only checkpoint."""
    if not (folder / CONFIG_NAME).is_file():
        message = f"{folder} holds no {CONFIG_NAME}"
        raise model_unavailable(message)
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        message = f"{folder} must contain one checkpoint ({', '.join(_SUFFIXES)}); found: {names}"
        raise ModelUnavailable(message)
    return found[0]


def require_only_tensors(path: Path) -> None:
    """Raise UnsafeCheckpoint unless the file is safetensors or a pickle of tensors only.

    open_clip passes weights_only=True, but retries without it after a TypeError, and an environment
    variable can disable it. So the file is checked here before open_clip loads it.
    """
    if path.suffix not in _SUFFIXES:
        message = f"{path.name} is not a supported checkpoint ({', '.join(_SUFFIXES)})"
        raise UnsafeCheckpoint(message)
    if path.suffix == ".safetensors":
        return
    import torch

    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        message = "unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: with it, checkpoints could run code"
        raise UnsafeCheckpoint(message)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        message = f"{path.name} contains more than tensors, or is damaged; it was not loaded"
        raise UnsafeCheckpoint(message) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        message = f"{path.name} is not a state dict of tensors; it was not loaded"
        raise UnsafeCheckpoint(message)


def fetch_from_hub(repository: str, *filenames: str, download: bool = True) -> Path:
    """The first of these files that the Hugging Face cache or hub has; raises ModelUnavailable.

    If the hub's name cannot be resolved, only the cache is searched; the hub's client would
    otherwise retry for a minute. With `download=False`, NotDownloaded is raised for what the cache
    lacks.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    reason: Exception | None = None
    is_offline = not download or not _hub_resolves()
    for filename in filenames:
        try:
            # The operator chose the repository, and the fingerprint identifies what was read.
            return Path(
                hf_hub_download(  # nosec B615
                    repository, filename, local_files_only=is_offline
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            reason = error
    if not download:
        message = f"the cache of the hub lacks the weights of {repository}"
        raise NotDownloaded(message) from reason
    message = f"the weights of {repository} are neither on the hub nor in its cache"
    raise model_unavailable(message) from reason


def _hub_resolves() -> bool:
    if getproxies():
        return True  # the proxy resolves names
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
