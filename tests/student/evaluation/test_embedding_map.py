"""The student's embeddings on the axes of the teacher's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from student.console import quiet
from student.data.image_set import ImageSet, load_image_set
from student.evaluation.embedding_map import (
    EmbeddingMap,
    embedding_map,
    principal_axes,
    share_shown,
)
from student.models.student import NewHead, Student, new_student
from student.report.html.embedding_map import draw_map
from student.training.dataset import TrainingData
from student.training.metrics import embeddings_of
from tests.support.pictures import write_domains
from tests.support.small_grid import settings

DIM = 6


@pytest.fixture
def scanned(tmp_path: Path) -> ImageSet:
    options = settings(write_domains(tmp_path / "pets"), target_domain=["d2"])
    return load_image_set(options.data, options.run, quiet())


def student(kind: str) -> Student:
    torch.manual_seed(0)
    head = NewHead(num_classes=2, text_embeddings=torch.randn(2, DIM), kind=kind)  # type: ignore[arg-type]
    return new_student(head, backbone="test_efficientnet", weights="none", image_size=16).eval()


def data(scanned: ImageSet, *, bought: int) -> TrainingData:
    """The first `bought` images have embeddings."""
    count = len(scanned.splits[0].train)
    vectors = np.random.default_rng(0).normal(size=(count, 1, DIM)).astype(np.float32)
    return TrainingData(
        pixels=scanned.stored,
        labels=np.zeros(count, dtype=np.int64),
        domains=np.zeros(count, dtype=np.int64),
        image_embeddings=vectors,
        bought=np.arange(count)[:, None] < bought,
        text_embeddings=np.zeros((2, DIM), dtype=np.float32),
    )


def test_the_axes_and_the_variance_that_they_show_are_those_of_a_pca() -> None:
    vectors = np.random.default_rng(1).normal(size=(40, DIM)) * np.arange(1, DIM + 1)
    reference = PCA(n_components=2).fit(vectors)
    centre, axes = principal_axes(vectors)
    np.testing.assert_allclose(
        np.abs((vectors - centre) @ axes), np.abs(reference.transform(vectors)), atol=1e-9
    )
    assert share_shown(vectors, axes) == pytest.approx(reference.explained_variance_ratio_.sum())


def test_the_students_embeddings_are_projected_by_the_teachers_map(scanned: ImageSet) -> None:
    paid, network = data(scanned, bought=10), student("embedding")
    found = embedding_map(scanned.splits[0], scanned, paid, network, seed=0)
    assert found is not None
    assert [item.digest for item in found.bought] == [
        item.digest for item in scanned.splits[0].train[:10]
    ]
    centre, axes = principal_axes(paid.image_embeddings[:10, 0].astype(np.float64))
    own = embeddings_of(network, scanned.stored[:10, 0]).astype(np.float64)
    np.testing.assert_allclose(found.student, (own - centre) @ axes, atol=1e-6)
    assert len(found.student_validation) == len(scanned.splits[0].validation)
    assert 0 < found.teacher_share < 1
    assert 0 < found.student_share < 1


@pytest.mark.parametrize(("kind", "bought"), [("class", 10), ("embedding", 2)])
def test_without_a_projection_or_enough_images_there_is_no_map(
    kind: str, bought: int, scanned: ImageSet
) -> None:
    paid = data(scanned, bought=bought)
    assert embedding_map(scanned.splits[0], scanned, paid, student(kind), seed=0) is None


def test_many_classes_and_domains_are_drawn_with_their_shares_in_words(scanned: ImageSet) -> None:
    item = scanned.splits[0].train[0]
    items = tuple(
        replace(item, class_name=f"$class_{n % 9}^", domain=f"domain {n % 10}") for n in range(40)
    )
    places = np.random.default_rng(2).normal(size=(40, 2))
    figure, note = draw_map(
        EmbeddingMap(
            bought=items,
            validation=items[:5],
            teacher=places,
            student=places,
            student_validation=places[:5],
            teacher_share=0.42,
            student_share=0.31,
        )
    )
    assert figure.startswith("<?xml")
    assert "40 bought images. They show 42% of the variance" in note
    assert "and 31% of the student's. Hollow: 5 images of source validation" in note
