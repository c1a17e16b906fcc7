"""The results of a student without classes: retrieval, and agreement with its teacher."""

from __future__ import annotations

from student.evaluation.results import Experiment
from student.evaluation.retrieval import NEIGHBOURS

COLUMNS = ("part", "measure, %", "student", "teacher")

EXPLANATION = (
    "Percent, with 95% bootstrap intervals over the images. R@k: of the captions, the share whose "
    "own image is among the first k of the part's images; the texts are the teacher's, the images "
    "the student's or the teacher's. Same first: both put the same image first. Mean cosine: of an "
    "image's two embeddings; beside it, what a student would reach that gives every image the mean "
    f"embedding. Shared neighbours: of the {NEIGHBOURS} images nearest to an image by the teacher, "
    f"the share that is among the {NEIGHBOURS} nearest by the student. More images in a part make "
    "all of it harder."
)


def retrieval_rows(experiment: Experiment) -> list[list[str]]:
    """The rows of a table with the columns `COLUMNS`, part by part."""
    rows: list[list[str]] = []
    for part, result in experiment.student.retrieval.items():
        title = f"{part} ({result.images:,} images, {result.captions:,} captions)"
        if (found := result.retrieval) is not None:
            for k in found.student:
                rows.append([title, f"R@{k}", str(found.student[k]), str(found.teacher[k])])
            rows.append([title, "same first", str(found.same_first), ""])
        constant, chance = f"{100 * result.constant:.1f}", f"{100 * result.by_chance:.1f}"
        rows.append([title, "mean cosine", str(result.cosine), f"{constant} by a constant"])
        neighbours = str(result.neighbours)
        rows.append([title, "shared neighbours", neighbours, f"{chance} by chance"])
    return rows
