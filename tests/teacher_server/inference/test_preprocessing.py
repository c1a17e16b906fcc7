"""Pixels are prepared as a model's own configuration says, or as the operator does."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import pytest

from teacher_server.errors import ModelUnavailable, SettingsError
from teacher_server.inference.encoder import load_encoder
from teacher_server.inference.model_source import ModelSource
from teacher_server.inference.preprocessing import preprocessing_of
from teacher_server.settings import load_settings

FIELDS = ("mean", "std", "interpolation", "resize_mode", "fill_color", "mode")
DISAGREEING = {"ViT-H-14", "ViT-H-14-quickgelu", "ViT-L-14"}


def plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(json.dumps(config[name])) for name in FIELDS}


def published(architecture: str, tag: str) -> dict[str, Any]:
    """What open_clip's create_model makes of a tag: its configuration over the defaults."""
    defaults = asdict(open_clip.transform.PreprocessCfg())
    config = open_clip.get_pretrained_cfg(architecture, tag)
    return plain(open_clip.transform.merge_preprocess_dict(defaults, config))


def from_file(architecture: str, path: Path = Path("/none/mine.pt")) -> ModelSource:
    return ModelSource(id=f"{architecture}/mine", architecture=architecture, checkpoint=path)


def test_a_file_gets_what_every_published_tag_of_its_architecture_agrees_on() -> None:
    """Over all pairs of open_clip; where the tags disagree, or there are none, it is refused."""
    agreeing = 0
    for architecture in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if not tags or architecture in DISAGREEING:
            with pytest.raises(ModelUnavailable):
                preprocessing_of(from_file(architecture), {})
            continue
        chosen = plain(preprocessing_of(from_file(architecture), {}))
        for tag in tags:
            assert chosen == published(architecture, tag), (architecture, tag)
            agreeing += 1
    assert agreeing > 100


def test_a_published_tag_gets_its_own() -> None:
    for architecture, tag in open_clip.list_pretrained():
        config = open_clip.get_pretrained_cfg(architecture, tag)
        source = ModelSource(
            id="x", architecture=architecture, checkpoint=Path("x.pt"), preprocess=config
        )
        defaults = asdict(open_clip.transform.PreprocessCfg())
        merged = open_clip.transform.merge_preprocess_dict(defaults, preprocessing_of(source, {}))
        assert plain(merged) == published(architecture, tag), (architecture, tag)


@pytest.mark.parametrize("architecture", ["MobileCLIP-S1", "RN50-quickgelu"])
def test_the_whole_transform_is_open_clips_own(architecture: str) -> None:
    """Against create_model_and_transforms itself, with the configuration of a published tag."""
    tag = open_clip.list_pretrained_tags_by_model(architecture)[0]
    config = open_clip.get_pretrained_cfg(architecture, tag)
    made, _, own = open_clip.create_model_and_transforms(
        architecture,
        load_weights=False,
        pretrained_text=False,
        **{
            f"image_{name}": config.get(name)
            for name in ("mean", "std", "interpolation", "resize_mode")
        },
    )
    prepared = {**preprocessing_of(from_file(architecture), {}), "size": made.visual.image_size}
    cfg = open_clip.transform.PreprocessCfg(**prepared)
    assert repr(open_clip.transform.image_transform_v2(cfg, is_train=False)) == repr(own)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("ViT-L-14", r"\(mean, std\).* disagree: mean is .*laion400m_e31.*--image-mean R,G,B"),
        ("ViT-H-14", r"\(resize_mode\).*squash.*--resize-mode \(or TEACHER_RESIZE_MODE\)"),
        ("ViT-L-16", r"no weights of ViT-L-16.*--image-mean R,G,B, --image-std R,G,B, --interpol"),
    ],
)
def test_the_refusal_names_the_fields_and_the_options(architecture: str, message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message) as caught:
        preprocessing_of(from_file(architecture), {})
    assert "\n" not in str(caught.value)


def test_an_option_settles_what_the_tags_disagree_on() -> None:
    given = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": None, "resize_mode": None}
    prepared = preprocessing_of(from_file("ViT-L-14"), given)
    assert (prepared["mean"], prepared["interpolation"]) == ((0.5,) * 3, "bicubic")


def test_options_are_read_from_flags_variables_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"image_mean": "0, 0.5,1", "resize_mode": "squash"}
    monkeypatch.setenv("TEACHER_IMAGE_STD", "1,1,1")
    config = tmp_path / "vendor.toml"
    config.write_text('interpolation = "bilinear"\nimage_mean = [9, 9, 9]\n')
    assert load_settings(flags, config=config).preprocess == {
        "mean": (0.0, 0.5, 1.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bilinear",
        "resize_mode": "squash",
    }
    for wrong in ({"image_mean": "0.5"}, {"image_std": "0,1,1"}, {"image_mean": "a,b,c"}):
        with pytest.raises(SettingsError):
            load_settings(wrong)


def folder_with(checkpoint: Path, folder: Path, preprocess: dict[str, Any] | None) -> Path:
    folder.mkdir()
    config = json.loads((checkpoint / "open_clip_config.json").read_text())
    config.pop("preprocess_cfg")
    if preprocess is not None:
        config["preprocess_cfg"] = preprocess
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "w.safetensors").symlink_to(checkpoint / "open_clip_model.safetensors")
    return folder


def test_a_folders_own_configuration_decides(checkpoint: Path, tmp_path: Path) -> None:
    stated = {"mean": [0.1] * 3, "std": [0.2] * 3, "interpolation": "bilinear"}
    folder = folder_with(checkpoint, tmp_path / "mine", stated)
    sold = load_encoder(str(folder)).info.preprocess
    *_, own = open_clip.create_model_and_transforms(f"local-dir:{folder}", load_weights=False)
    assert {name: sold[name] for name in stated} == stated
    assert sold["resize_mode"] == "shortest"
    cfg = open_clip.transform.PreprocessCfg(**{**sold, "size": tuple(sold["size"])})
    assert repr(open_clip.transform.image_transform_v2(cfg, is_train=False)) == repr(own)


def test_a_folder_that_does_not_say_its_mean_is_refused_unless_the_operator_does(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = folder_with(checkpoint, tmp_path / "mine", None)
    with pytest.raises(ModelUnavailable, match=r"its configuration does not say.*--image-std"):
        load_encoder(str(folder))
    given = {"mean": (0.1,) * 3, "std": (0.2,) * 3}
    assert load_encoder(str(folder), preprocess=given).info.preprocess["mean"] == [0.1] * 3


def test_a_configuration_beside_a_file_of_a_named_architecture_decides(tmp_path: Path) -> None:
    stated = {"size": 224, "mean": [0.1] * 3, "std": [0.2] * 3, "resize_mode": "squash"}
    config = {"model_cfg": open_clip.get_model_config("ViT-L-16"), "preprocess_cfg": stated}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    source = from_file("ViT-L-16", tmp_path / "mine.pt")
    prepared = preprocessing_of(source, {})
    assert (prepared["mean"], prepared["resize_mode"]) == ([0.1] * 3, "squash")
    assert "size" not in prepared
    with pytest.raises(ModelUnavailable):  # it describes another model
        preprocessing_of(from_file("ViT-L-16-320", tmp_path / "mine.pt"), {})


def test_a_file_whose_weights_may_need_quick_gelu_is_served_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="teacher_server"):
        preprocessing_of(from_file("ViT-B-16-quickgelu"), {})
        assert not caplog.records
        preprocessing_of(from_file("ViT-B-16"), {})
    assert "name ViT-B-16-quickgelu" in caplog.text
