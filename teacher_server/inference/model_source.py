"""Finds a model: the architecture that open_clip builds, and the checkpoint for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from teacher_server.errors import ModelUnavailable
from teacher_server.inference.weights import (
    CONFIG_NAME,
    EMBEDDED,
    fetch_from_hub,
    find_checkpoint,
    model_unavailable,
)

_SAFE_NAME = "open_clip_model.safetensors"
_PICKLED_NAME = "open_clip_pytorch_model.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model as files: the architecture that open_clip builds, and the checkpoint for it.

    `folder` holds its configuration file; None for an architecture of open_clip's own. `preprocess`
    is the configuration of a published tag, or None.
    """

    id: str
    architecture: str
    checkpoint: Path
    preprocess: dict[str, Any] | None = None
    uses_quick_gelu: bool = False
    is_embedded: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder with the model's own configuration file."""
        prefix = "local-dir:"
        is_local = self.architecture.startswith(prefix)
        return Path(self.architecture.removeprefix(prefix)) if is_local else None


def resolve_model(
    model: str, pretrained: str | None, *, embedded: Path = EMBEDDED, download: bool = True
) -> ModelSource:
    """Find the configuration and the weights, and download them from the hub if necessary.

    `model` is `embedded`, a local folder, a checkpoint file beside its configuration,
    `hf-hub:org/name`, or an open_clip architecture, where `pretrained` is a tag or a checkpoint
    file. Raises ModelUnavailable, which lists the alternatives; no other model is used instead.
    With `download=False` a hub's cache is searched alone, and NotDownloaded says what it lacks.
    """
    if model == "embedded":
        if not (embedded / CONFIG_NAME).is_file():
            message = f"the embedded model is not installed (no {embedded / CONFIG_NAME})"
            raise model_unavailable(message)
        checkpoint = find_checkpoint(embedded)
        return ModelSource(
            id=model, architecture=f"local-dir:{embedded}", checkpoint=checkpoint, is_embedded=True
        )
    path = Path(model).expanduser()
    if path.is_dir():
        path = path.resolve()
        return ModelSource(
            id=path.name, architecture=f"local-dir:{path}", checkpoint=find_checkpoint(path)
        )
    if path.is_file():
        path = path.resolve()
        if not (path.parent / CONFIG_NAME).is_file():
            message = (
                f"there is no {CONFIG_NAME} beside {path.name}: set TEACHER_MODEL to its "
                "architecture and TEACHER_PRETRAINED to the file"
            )
            raise ModelUnavailable(message)
        return ModelSource(id=path.stem, architecture=f"local-dir:{path.parent}", checkpoint=path)
    if model.startswith("hf-hub:"):
        repository = model.removeprefix("hf-hub:")
        config = fetch_from_hub(repository, CONFIG_NAME, download=download)
        checkpoint = fetch_from_hub(repository, _SAFE_NAME, _PICKLED_NAME, download=download)
        return ModelSource(
            id=model, architecture=f"local-dir:{config.parent}", checkpoint=checkpoint
        )
    return _resolve_pair(model, pretrained, download=download)


def _resolve_pair(model: str, pretrained: str | None, *, download: bool) -> ModelSource:
    import open_clip

    architecture = model.replace("/", "-")
    if architecture not in open_clip.list_models():
        message = f"{model!r} is not a folder, a file, hf-hub:… or an open_clip architecture"
        raise model_unavailable(message)
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not pretrained:
        message = f"{model} needs TEACHER_PRETRAINED: a checkpoint file or one of {', '.join(tags)}"
        raise ModelUnavailable(message)
    file = Path(pretrained).expanduser()
    if file.is_file():
        return ModelSource(
            id=f"{architecture}/{file.stem}", architecture=architecture, checkpoint=file.resolve()
        )
    config = open_clip.get_pretrained_cfg(architecture, pretrained)
    hub = config.get("hf_hub", "")
    if not hub:
        known = ", ".join(tags) or "none"
        message = f"{pretrained!r} is not a file or a tag of {model} on the hub (tags: {known})"
        raise model_unavailable(message)
    repository, _, filename = hub.rpartition("/")
    named = filename or _PICKLED_NAME
    safe = _SAFE_NAME if named == _PICKLED_NAME else str(Path(named).with_suffix(".safetensors"))
    return ModelSource(
        id=f"{architecture}/{pretrained}",
        architecture=architecture,
        checkpoint=fetch_from_hub(repository, safe, named, download=download),
        preprocess=config,
        uses_quick_gelu=bool(config.get("quick_gelu")),
    )
