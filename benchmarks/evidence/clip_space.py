"""The section on PACS with a teacher in a real CLIP's own space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.choices import OTHER_HALF, WHOLE, lines_of, shared_rows
from benchmarks.evidence.lines import NAMES, Found
from benchmarks.evidence.protocol import JOINT
from benchmarks.evidence.user_data import CLIP_SPACE, PACS
from student.bench.constants import ZERO_SHOT
from student.bench.series import VALIDATION
from student.bench.tables import accuracy_table, difference_table

CARD = Path(__file__).parents[2] / "docs/results/pacs-clip-space.json"
"""What `tools.pacs.record_in_clip_space` says of the teacher that it recorded."""

_TEXT = """\
The teacher above is taught with class names alone, so that it knows little beyond them. Another one
answers in the space of OpenAI's CLIP ViT-B/32 (`tools.pacs.record_in_clip_space`). How images
differ is said by a linear map from a network's features to that CLIP's answers for {answers:,}
images of CIFAR-10 and Flickr8k; it leaves {missed:.0%} of the variance of held-out answers
unexplained. Their classes are those that the teacher above sees, as differences between that CLIP's
own text embeddings of the class names, which are the class texts that are sold. Of the variance of
its image embeddings {within:.0%} lies within classes, as of the CLIP's own on CIFAR-10, at an
effective rank of {rank:.0f}; the CLIP's own is {clip_rank:.0f}. Its students are compared with
those of the teacher above on seeds that one machine made with both
([card](results/pacs-clip-space.json)).
"""


def clip_space_section(found: Found, card: Path = CARD) -> Iterator[str]:
    """The students of both teachers on the same splits and seeds, beside ERM."""
    yield from ["## PACS, with a teacher in a real CLIP's own space", ""]
    if not card.exists():
        yield from ["(Not yet run.)", ""]
        return
    made = json.loads(card.read_text())
    own, clip = made["embedding_spread"], made["embedding_spread_of_clip_on_cifar"]
    yield _TEXT.format(
        answers=made["answers"],
        within=own["variance_within_classes"],
        rank=own["effective_rank"],
        clip_rank=clip["effective_rank"],
        missed=made["variance_of_held_out_answers_not_explained"],
    )
    lines = {line.title: line for line in lines_of(found, tuple(CLIP_SPACE))}
    erm, own_space = lines[NAMES["erm"]], lines[NAMES[JOINT]]
    of_other = next(line for line in lines_of(found, PACS) if line.title == NAMES[JOINT])
    other = replace(shared_rows(of_other, own_space), title=f"{NAMES[JOINT]}, class names alone")
    joint = replace(own_space, title=f"{NAMES[JOINT]}, in a real CLIP's space")
    columns = (OTHER_HALF, WHOLE, VALIDATION)
    teacher = lines[NAMES[ZERO_SHOT]]
    yield from [*accuracy_table([erm, other, joint, teacher], columns), ""]
    yield from [*difference_table([other, joint], [erm], columns), ""]
    yield from [*difference_table([joint], [other], columns), ""]
