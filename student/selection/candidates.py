"""The methods among which `--method auto` chooses, before and after the images are bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from student.options import TrainingOptions
from student.options.training import AUTO_METHODS, MethodName

WITHOUT_DRAWINGS: Mapping[str, object] = MappingProxyType({"line_drawing_prob": 0.0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A method, and the options that make a variant of it."""

    method: MethodName
    variant: str = ""
    changes: Mapping[str, object] = field(default_factory=dict)

    @property
    def short_method(self) -> MethodName:
        """The method of its short runs: LP-FT for ERM, and otherwise its own.

        The other candidates begin with a projection that is trained on stored features. In a short
        run a random classifier would lag behind it by its start alone.
        """
        return "lp-ft" if self.method == "erm" else self.method

    @property
    def name(self) -> str:
        """The method's name, with what the variant changes."""
        return f"{self.method} {self.variant}".rstrip()

    def options(self, options: TrainingOptions) -> TrainingOptions:
        """The options of a run by this candidate."""
        return options.changed(method=self.method, compare=False, **self.changes)


def candidates(options: TrainingOptions) -> tuple[Candidate, ...]:
    """The candidates in the order in which they are preferred: from plain to elaborate.

    An option that the user has named holds for every candidate, so a variant that would change it
    is left out.
    """
    variants = {
        "vl2v-adip-1q": Candidate(
            method="vl2v-adip-1q", variant="without drawings", changes=WITHOUT_DRAWINGS
        )
    }
    found: list[Candidate] = []
    for method in AUTO_METHODS:
        variant = variants.get(method)
        if variant is not None and not variant.changes.keys() & options.model_fields_set:
            found.append(variant)
        found.append(Candidate(method=method))
    return tuple(found)


BEFORE_PURCHASE = (
    Candidate(method="erm"),
    Candidate(method="text-only"),
    Candidate(method="vl2v-adip-1q"),
)
"""What is compared on a part of the images, to decide whether to buy the others: no teacher, class
texts alone, and image embeddings. The last trains an image that has none against its class's text,
so that many of those do not hide what a few embeddings add."""
