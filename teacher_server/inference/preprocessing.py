"""The preprocessing that a model was made with: from its own configuration, never assumed.

A published tag has its own. A folder and a hub repository have a configuration file. A checkpoint
that comes as a file without one gets what all published tags of its architecture agree on; where
they disagree, or there are none, the operator must say.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from teacher_server.errors import ModelUnavailable
from teacher_server.inference.model_source import ModelSource
from teacher_server.inference.weights import CONFIG_NAME

OPTIONS = {
    "mean": "--image-mean R,G,B",
    "std": "--image-std R,G,B",
    "interpolation": "--interpolation",
    "resize_mode": "--resize-mode",
}
"""The fields that no weights file holds, and the option of the vendor that gives each."""

_log = logging.getLogger("teacher_server")


def preprocessing_of(source: ModelSource, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of open_clip's PreprocessCfg to set, so that images are prepared as the model was
    made. The size is not among them: the architecture has it. `given` are the operator's options,
    which win.

    Raises ModelUnavailable, naming the options, if a field is not known.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if source.preprocess is not None:
        return {**source.preprocess, **chosen}
    if source.folder is not None:
        stated = _stated(source.folder)
        # The format has defaults for the other two; mean and deviation are always written.
        _require(source, "its configuration does not say", {**stated, **chosen}, ("mean", "std"))
        return chosen  # open_clip reads the rest from the configuration itself
    _warn_of_quick_gelu(source)
    if (own := _beside(source)) is not None:
        return {**_defaults(), **own, **chosen}
    agreed, reason = _agreed(source.architecture)
    _require(source, reason, {**agreed, **chosen}, OPTIONS)
    return {**agreed, **chosen}


def _require(
    source: ModelSource,
    reason: str,
    known: Mapping[str, Any],
    names: Mapping[str, str] | tuple[str, ...],
) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        variables = ", ".join("TEACHER_" + _variable(name) for name in unknown)
        message = (
            f"the preprocessing that {source.checkpoint.name} was made with is not known "
            f"({', '.join(unknown)}): {reason}. Say it with "
            f"{', '.join(OPTIONS[name] for name in unknown)} (or {variables}), as the weights' "
            f"author states it, or serve a folder with {CONFIG_NAME}"
        )
        raise ModelUnavailable(message)


def _variable(name: str) -> str:
    return OPTIONS[name].split()[0].removeprefix("--").replace("-", "_").upper()


def _agreed(architecture: str) -> tuple[dict[str, Any], str]:
    """What all published tags of the architecture agree on, and a sentence on the rest."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if not tags:
        return {}, f"open_clip publishes no weights of {architecture} to take it from"
    of_tag = {
        tag: open_clip.transform.merge_preprocess_dict(
            _defaults(), open_clip.get_pretrained_cfg(architecture, tag)
        )
        for tag in tags
    }
    agreed, disagreements = {}, []
    for name in _defaults():
        tags_of: dict[str, list[str]] = {}
        for tag, config in of_tag.items():
            tags_of.setdefault(json.dumps(config[name]), []).append(tag)
        if len(tags_of) == 1:
            agreed[name] = of_tag[tags[0]][name]
            continue
        listed = "; ".join(f"{value} of {_some(names)}" for value, names in tags_of.items())
        disagreements.append(f"{name} is {listed}")
    return agreed, f"the published weights of {architecture} disagree: {', '.join(disagreements)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _defaults() -> dict[str, Any]:
    import open_clip

    defaults = json.loads(json.dumps(asdict(open_clip.transform.PreprocessCfg())))
    del defaults["size"]  # the architecture's
    return dict(defaults)


def _stated(folder: Path) -> dict[str, Any]:
    """The `preprocess_cfg` of a configuration file. Raises ModelUnavailable if it is not JSON."""
    try:
        config = json.loads((folder / CONFIG_NAME).read_text())
        return dict(config.get("preprocess_cfg") or {})
    except (OSError, ValueError, AttributeError, TypeError) as error:
        message = f"{folder / CONFIG_NAME} is not a configuration of open_clip: {error}"
        raise ModelUnavailable(message) from error


def _beside(source: ModelSource) -> dict[str, Any] | None:
    """The preprocessing stated in the file beside the checkpoint, if it describes this model."""
    import open_clip

    folder = source.checkpoint.parent
    if not (folder / CONFIG_NAME).is_file():
        return None
    stated = {name: value for name, value in _stated(folder).items() if name != "size"}
    own = open_clip.get_model_config(f"local-dir:{folder}")
    same = own == open_clip.get_model_config(source.architecture)
    return stated if same and {"mean", "std"} <= stated.keys() else None


def _warn_of_quick_gelu(source: ModelSource) -> None:
    """Weights do not say which activation they were trained with; here the name decides it."""
    import open_clip

    if open_clip.get_model_config(source.architecture).get("quick_gelu"):
        return
    tags = [
        tag
        for tag in open_clip.list_pretrained_tags_by_model(source.architecture)
        if open_clip.get_pretrained_cfg(source.architecture, tag).get("quick_gelu")
    ]
    if tags:
        _log.warning(
            "%s is served with GELU, as %s is defined. If it holds weights that were trained with "
            "QuickGELU, as the published %s were, name %s-quickgelu",
            source.checkpoint.name,
            source.architecture,
            _some(tags),
            source.architecture,
        )
