"""What is said before students are trained: the teacher's own accuracy, how images are shown."""

from __future__ import annotations

import numpy as np

from student.console import Terminal
from student.data.image_set import ImageSet
from student.data.split import Split
from student.embeddings.lookup import TeacherEmbeddings
from student.embeddings.zero_shot import correct
from student.evaluation.results import AccuracyCount
from student.evaluation.split_data import bought_embeddings, domains_of, stored_views
from student.options import Options
from student.training.backgrounds import background_sentence
from student.training.dataset import TrainingData
from student.training.methods import method_of, reads_images
from student.training.wrong_answers import DOUBTFUL, count_wrong_answers


def say_teacher_accuracy(
    split: Split,
    scanned: ImageSet,
    paid: TeacherEmbeddings,
    options: Options,
    terminal: Terminal,
    *,
    num_wrong: int,
) -> AccuracyCount | None:
    """Measures the teacher on the bought images, and prints what it finds before any training.

    `num_wrong` of its embeddings are not learnt from.
    """
    teacher = teacher_accuracy(split, scanned, paid, options)
    if teacher is None:
        return None
    if teacher.interval.high < DOUBTFUL and reads_images(options.training):
        terminal.warn(
            f"{teacher_sentence(teacher)}: it may not know these images; compare with --method erm "
            "before you buy more"
        )
    else:
        terminal.say(teacher_sentence(teacher))
    if num_wrong:
        terminal.warn(wrong_answers_sentence(num_wrong))
    return teacher


def wrong_answers_sentence(num_wrong: int) -> str:
    """How many bought embeddings are not learnt from, as a sentence."""
    return (
        f"{num_wrong:,} of the bought embeddings are nearer to the text of another class and are "
        "not learnt from, because the teacher is wrong about most images of their domain"
    )


def wrong_answers(data: TrainingData, options: Options) -> int:
    """How many of the bought embeddings the method does not learn from: the wrong ones of domains
    of which the teacher is wrong about most images."""
    method = method_of(options.training.method, options.training)
    if not method.heeds_doubts or not method.terms_for(options.training).reads_images:
        return 0
    return count_wrong_answers(data)


def teacher_accuracy(
    split: Split, scanned: ImageSet, paid: TeacherEmbeddings, options: Options
) -> AccuracyCount | None:
    """The teacher's own zero-shot accuracy on the training images that were bought, as they are.

    None if none was, or if there are no classes.
    """
    images, bought, texts = bought_embeddings(split, scanned, paid, options.changed(views=1))
    if not bought.any() or not len(texts):
        return None
    labels = np.array([scanned.label(item) for item in split.train], dtype=np.int64)[bought[:, 0]]
    return AccuracyCount(correct=correct(images[bought], texts, labels), images=len(labels))


def teacher_sentence(teacher: AccuracyCount) -> str:
    """The teacher's zero-shot accuracy with its 95% interval, as a sentence."""
    interval = teacher.interval
    return (
        f"the teacher itself classifies {teacher.accuracy:.1%} of the {teacher.images:,} bought "
        f"images correctly (zero-shot, 95% interval {interval.low:.1%} to {interval.high:.1%})"
    )


def how_shown(split: Split, scanned: ImageSet, options: Options) -> str:
    """Whether the method takes the images for icons, as a sentence; empty if it never asks."""
    method = method_of(options.training.method, options.training)
    return background_sentence(
        method.settings_for(options.training),
        stored_views(split, scanned, 1),
        domains_of(split),
        split.sources,
    )
