"""All four sections together, for the code that hands each part its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from student.errors import BadInput
from student.options.data import DataOptions
from student.options.purchase import PurchaseOptions
from student.options.run import RunOptions
from student.options.section import Section, build
from student.options.training import TrainingOptions

SECTIONS: Mapping[str, type[Section]] = {
    "data": DataOptions,
    "purchase": PurchaseOptions,
    "training": TrainingOptions,
    "run": RunOptions,
}
"""The sections by name, in the order of --help."""

SECTION_OF: Mapping[str, str] = {
    name: title for title, section in SECTIONS.items() for name in section.model_fields
}
"""The section of each option."""

NOT_IDENTIFYING = frozenset(SECTION_OF) - frozenset[str]().union(
    *(section.identifying() for section in SECTIONS.values())
)
"""The options of which every value gives the same student."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one execution, by section."""

    data: DataOptions = field(default_factory=DataOptions)
    purchase: PurchaseOptions = field(default_factory=PurchaseOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    run: RunOptions = field(default_factory=RunOptions)

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Self:
        """The options with these values, by name, whatever their section. Raises BadInput."""
        if unknown := values.keys() - SECTION_OF.keys():
            message = f"no option {', '.join(sorted(unknown))}"
            raise BadInput(message)
        return cls(
            data=build(DataOptions, _part(values, DataOptions.model_fields)),
            purchase=build(PurchaseOptions, _part(values, PurchaseOptions.model_fields)),
            training=build(TrainingOptions, _part(values, TrainingOptions.model_fields)),
            run=build(RunOptions, _part(values, RunOptions.model_fields)),
        )

    def changed(self, **values: object) -> Self:
        """The same options with these values, which then count as named. Raises BadInput."""
        named = {name: getattr(getattr(self, SECTION_OF[name]), name) for name in self.named}
        return self.of({**named, **values})

    @property
    def named(self) -> frozenset[str]:
        """The options that the user has named."""
        return frozenset[str]().union(
            *(getattr(self, section.name).model_fields_set for section in fields(self))
        )

    def as_json(self) -> dict[str, Any]:
        """All options by name, for meta.json, except the path of the key file."""
        whole: dict[str, Any] = {}
        for section in fields(self):
            whole |= getattr(self, section.name).model_dump(mode="json")
        del whole["key_file"]
        return whole


def _part(values: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    return {name: values[name] for name in names if name in values}
