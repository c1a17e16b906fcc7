from __future__ import annotations

from typing import Any

import pytest

from student.errors import BadInput
from student.models.architecture import HeadKind, Part
from student.options import TrainingOptions
from student.training.loss_weights import LossWeights
from student.training.methods import METHODS, Method

SETTINGS = TrainingOptions()
TOGETHER: tuple[tuple[str, Part], ...] = (("distill", "all"),)


def _method(**changes: Any) -> Method:
    whole = {"name": "x", "head": "embedding", "terms": LossWeights(text=1.0), "parts": TOGETHER}
    return Method(**{**whole, **changes})


def test_every_method_of_the_comparison_has_a_name() -> None:
    """The zero-shot teacher has no student, and therefore no method."""
    assert set(METHODS) == {
        *("vl2v-adip", "image-only", "text-only", "one-stage", "simkd", "rise"),
        *(
            "kd",
            "erm",
            "lp-ft",
            "linear-probe",
            "vl2v-adip-1q",
            "vl2v-adip-erm",
            "vl2v-adip-joint",
            "vl2v-sd",
            "clip-ft",
        ),
    }
    assert all(name == method.name for name, method in METHODS.items())


def test_the_published_method_weighs_both_cosines_by_lmd() -> None:
    assert METHODS["vl2v-adip"].terms_for(SETTINGS) == LossWeights(image=0.5, text=0.5)
    assert METHODS["one-stage"].terms_for(SETTINGS.changed(lmd=0.25)) == LossWeights(
        image=0.25, text=0.75
    )
    assert METHODS["image-only"].terms_for(SETTINGS) == LossWeights(image=1.0)
    assert METHODS["text-only"].terms_for(SETTINGS) == LossWeights(text=1.0)
    assert METHODS["erm"].terms_for(SETTINGS) == LossWeights(labels=1.0)


def test_the_white_box_has_no_projection_and_a_single_stage() -> None:
    sd, fine_tuned = METHODS["vl2v-sd"], METHODS["clip-ft"]
    assert sd.terms_for(SETTINGS) == METHODS["vl2v-adip"].terms_for(SETTINGS)
    assert fine_tuned.terms_for(SETTINGS) == LossWeights(labels=1.0, logit_scale=100.0)
    for method in (sd, fine_tuned):
        assert method.head == "identity"
        assert [stage.trains for stage in method.stages(SETTINGS)] == ["backbone"]


def test_a_recipes_overrides_win_over_a_runs_settings_unless_it_yields_them() -> None:
    method = _method(overrides=(("schedule", "one-cycle"), ("steps", 7)))
    assert method.settings_for(SETTINGS) == SETTINGS.changed(schedule="one-cycle", steps=7)
    assert [stage.steps for stage in method.stages(SETTINGS)] == [7]
    yielded = method.yielding({"steps", "lmd"})
    assert yielded.settings_for(SETTINGS) == SETTINGS.changed(schedule="one-cycle")


def test_the_one_query_recipe_weighs_the_image_term_more_unless_the_user_names_lmd() -> None:
    method = METHODS["vl2v-adip-1q"]
    assert method.terms_for(SETTINGS).image > method.terms_for(SETTINGS).text
    assert method.yielding({"lmd"}).terms_for(SETTINGS) == LossWeights(image=0.5, text=0.5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"terms": LossWeights()}, "no term has a weight"),
        ({"head": "class"}, "no embedding"),
        ({"head": "class", "terms": LossWeights(image=1.0)}, "no embedding"),
        ({"head": "class", "terms": LossWeights(), "shares_lmd": True}, "no embedding"),
        ({"head": "text", "terms": LossWeights(labels=1.0, learns_scale=True)}, "scale to learn"),
        ({"head": "joint", "terms": LossWeights(labels=1.0, learns_scale=True)}, "scale to learn"),
        ({"shares_lmd": True}, "lmd"),
        ({"head": "identity", "parts": (("align", "projection"),)}, "no projection"),
        ({"overrides": (("seed", 1),)}, "cannot override seed"),
        ({"overrides": (("labels", 1),)}, "cannot override labels"),
    ],
)
def test_a_method_whose_parts_do_not_fit_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=f"method x: .*{reason}"):
        _method(**change)


def test_an_override_is_checked_like_an_option() -> None:
    with pytest.raises(BadInput, match="lmd: Input should be less than or equal to 1"):
        _method(overrides=(("lmd", 2.0),)).settings_for(SETTINGS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image": -0.1}, "image of the terms must be 0 or more"),
        ({"kd": float("nan")}, "kd of the terms"),
        ({"relations": float("inf")}, "relations of the terms"),
        ({"temperature": 0.0}, "temperature of the terms must be positive"),
        ({"logit_scale": -1.0}, "logit_scale of the terms must be positive"),
        ({"text": 1.0, "learns_scale": True}, "learn a scale"),
    ],
)
def test_invalid_loss_weights_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        LossWeights(**change)


@pytest.mark.parametrize(
    ("terms", "images", "labels", "logits", "projection"),
    [
        (LossWeights(image=1.0), True, False, False, True),
        (LossWeights(text=1.0), False, True, False, True),
        (LossWeights(labels=1.0), False, True, True, False),
        (LossWeights(kd=1.0), True, False, True, False),
        (LossWeights(relations=1.0), False, True, False, True),
    ],
)
def test_a_loss_term_declares_what_it_reads(
    terms: LossWeights, *, images: bool, labels: bool, logits: bool, projection: bool
) -> None:
    assert (terms.reads_images, terms.reads_labels) == (images, labels)
    assert (terms.reads_logits, terms.reads_projection) == (logits, projection)


@pytest.mark.parametrize("head", ["embedding", "text", "identity", "joint"])
def test_every_head_in_the_teachers_space_takes_every_term(head: HeadKind) -> None:
    terms = LossWeights(image=1.0, text=1.0, labels=1.0, kd=1.0, relations=1.0)
    assert _method(head=head, terms=terms).terms_for(SETTINGS) == terms
