"""The Python API against a real vendor: plan, buy within a budget, load a student, predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import SecretStr

import student
from tests.end_to_end.conftest import RunningVendor, invoke

TINY = (
    *("--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32"),
    *("--steps", "2", "--align-steps", "2", "--eval-every", "1", "--device", "cpu"),
)


def test_a_program_plans_buys_within_a_budget_and_buys_again_for_nothing(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    images = sorted((emoji / "apple" / "bird").glob("*.png"))
    texts = ["a photo of a bird", "a photo of a heart"]
    buyer = student.EmbeddingBuyer(
        vendor=vendor.url, key=SecretStr(vendor.new_key(100)), cache=tmp_path / "cache", budget=5
    )

    plan = buyer.plan(images, texts)
    assert (plan.units, len(plan.to_buy), len(plan.left_out)) == (5, 5, len(images) - 3)

    first = buyer.buy(images, texts)
    assert (first.summary.units, first.summary.stop_reason) == (5, "client budget")
    assert list(first.texts) == texts
    assert list(first.images) == images[:3]
    norms = [np.linalg.norm(vector) for vector in (*first.images.values(), *first.texts.values())]
    np.testing.assert_allclose(norms, 1.0, atol=1e-3)

    again = buyer.buy(images, texts)
    assert (again.summary.units, again.plan.already_paid) == (0, 5)
    assert all(np.array_equal(again.images[path], first.images[path]) for path in first.images)


def test_a_program_loads_the_student_of_a_run_and_shares_its_cache(
    vendor: RunningVendor, emoji: Path, tmp_path: Path
) -> None:
    key, cache, out = vendor.new_key(200), tmp_path / "cache", tmp_path / "out"
    invoke(
        *("distill-client", "--vendor", vendor.url, "--data", str(emoji), "--budget", "100"),
        *("--target-domain", "outline", "--cache", str(cache), "--out", str(out), *TINY),
        key=key,
    )
    images = sorted((emoji / "outline").glob("*/*.png"))

    network, meta = student.load_student(out)
    assert network.architecture.backbone == "test_efficientnet"
    predictions = list(student.predict_images(images, out))
    assert [prediction.image for prediction in predictions] == images
    assert {prediction.class_name for prediction in predictions} <= set(meta["classes"])

    buyer = student.EmbeddingBuyer(vendor=vendor.url, key=SecretStr(key), cache=cache, budget=100)
    prompts = [f"a photo of a {name}" for name in meta["classes"]]
    assert buyer.buy(texts=prompts).summary.units == 0
