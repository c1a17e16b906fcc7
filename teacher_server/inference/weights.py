"""Where weights come from, and the proof that reading them runs no code of theirs."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from teacher_server.errors import ModelUnavailable, UnsafeCheckpoint

EMBEDDED = Path(__file__).resolve().parent.parent / "embedded"
CONFIG_NAME = "open_clip_config.json"
WAYS_OUT = (
    "ways out: TEACHER_MODEL=embedded (ships with the package), TEACHER_MODEL=/path/to/a/folder "
    f"that holds {CONFIG_NAME} and the weights, or a Hugging Face cache that holds them "
    "(mount it and set HF_HOME)"
)
_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def without_weights(message: str) -> ModelUnavailable:
    """The error for a model that cannot be had, with the ways out named."""
    return ModelUnavailable(f"{message}; {WAYS_OUT}")


def sha256_of(path: Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_in(folder: Path) -> Path:
    """The weights of a local folder: open_clip's usual name, or the only checkpoint there is."""
    if not (folder / CONFIG_NAME).is_file():
        message = f"{folder} holds no {CONFIG_NAME}"
        raise without_weights(message)
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        message = f"{folder} must hold one checkpoint ({', '.join(_SUFFIXES)}); found: {names}"
        raise ModelUnavailable(message)
    return found[0]


def require_only_tensors(path: Path) -> None:
    """Raise UnsafeCheckpoint unless the file is safetensors, or unpickles to tensors alone.

    open_clip passes weights_only=True but retries without it on a TypeError, where an environment
    variable can turn the check off; so the check is made here, before open_clip sees the file.
    """
    if path.suffix not in _SUFFIXES:
        message = f"{path.name} is not a checkpoint that is read here ({', '.join(_SUFFIXES)})"
        raise UnsafeCheckpoint(message)
    if path.suffix == ".safetensors":
        return
    import torch

    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        message = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set: unset it, checkpoints must not run code"
        raise UnsafeCheckpoint(message)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        message = f"{path.name} holds more than tensors or is damaged; it was not loaded"
        raise UnsafeCheckpoint(message) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        message = f"{path.name} is not a state dict of tensors; it was not loaded"
        raise UnsafeCheckpoint(message)


def fetch(repository: str, *filenames: str) -> Path:
    """The first of the files that the Hugging Face cache or hub has; ModelUnavailable if none.

    Where the hub's name does not resolve only the cache is asked, for the client would otherwise
    spend a minute on retries before it says so.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    reason: Exception | None = None
    is_offline = not _hub_resolves()
    for filename in filenames:
        try:
            # The operator names the repository; what is sold is the fingerprint of what was read.
            return Path(
                hf_hub_download(  # nosec B615
                    repository, filename, local_files_only=is_offline
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            reason = error
    message = f"the weights of {repository} can be had neither from the hub nor from its cache"
    raise without_weights(message) from reason


def _hub_resolves() -> bool:
    if getproxies():
        return True  # the proxy resolves names, not this machine
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
