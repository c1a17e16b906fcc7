"""A run of a bench grid as a value, and its identity."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from cache.records.canonical_json import json_sha256
from student.acquisition.strategies import selector
from student.bench.constants import NO_TEACHER, ZERO_SHOT
from student.bench.rows import Option
from student.errors import BadInput
from student.options import Options, TrainingOptions
from student.options.renamed_options import is_retired
from student.training.methods import METHODS, Method, method_of
from student.training.stored_names import (
    DEFAULTS,
    LATER_DEFAULTS,
    TERMS,
    stored_method_name,
    stored_settings,
    unlike_defaults,
)

_FORMAT = "bench/1"
# The images of a grid are rendered once, in one size, so runs cannot differ in image size.
_OPTIONS = TrainingOptions.identifying() - {"method"} | {"prompts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run; use it `normalised`, so that equal runs are equal values.

    `fraction` (0 to 1) is the share of the training images that is bought, in the selector's order;
    `views` stored views are bought of each. `options` are those that differ from the grid's.
    """

    dataset: str
    targets: tuple[str, ...]
    seed: int
    method: str
    views: int = 1
    fraction: float = 1.0
    selector: str = "random"
    teacher: str = "embedded"
    options: tuple[tuple[str, Option], ...] = ()

    @property
    def is_student(self) -> bool:
        """Whether anything is trained."""
        return self.method != ZERO_SHOT

    @property
    def retired(self) -> dict[str, Option]:
        """The options of this run that were removed after version 0.1.

        A run that has any cannot be trained any more, but its row can still be read.
        """
        return {name: value for name, value in self.options if is_retired(name, value)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The runs of a bench, in training order, and the options that they share."""

    name: str
    base: Options
    runs: tuple[Run, ...]

    def ids(self) -> dict[str, Run]:
        """Returns the runs by identity, without duplicates."""
        return {identity(run, self.base): run for run in self.runs}


def normalised(run: Run) -> Run:
    """Returns the run with the fields reset that its method ignores, so that equal runs are equal.

    A method that reads no image embeddings buys none; a method that reads no text embeddings either
    has no teacher. Raises BadInput for an unknown method, selector or option, and for a number of
    views or a fraction out of range.
    """
    selector(run.selector)
    if unknown := [
        name for name, value in run.options if name not in _OPTIONS and not is_retired(name, value)
    ]:
        message = f"a run cannot differ in {', '.join(unknown)}"
        raise BadInput(message)
    if not 0.0 <= run.fraction <= 1.0 or run.views < 1:
        message = f"cannot buy {run.views} views of {run.fraction} of the images"
        raise BadInput(message)
    run = replace(run, targets=tuple(sorted(run.targets)), options=tuple(sorted(run.options)))
    if run.method == ZERO_SHOT:
        return replace(run, views=1, fraction=0.0, selector="random")
    if not known_method(run.method).reads_images:
        run = replace(run, fraction=0.0)
    if run.fraction == 0.0:
        run = replace(run, views=1)
    if run.fraction in (0.0, 1.0):
        run = replace(run, selector="random")
    return run if asks_texts(run.method) else replace(run, teacher=NO_TEACHER)


def known_method(name: str) -> Method:
    """Returns the method of this name. Raises BadInput, listing all methods, if it is unknown."""
    if name not in METHODS:
        message = f"no method {name}; there are {', '.join((*METHODS, ZERO_SHOT))}"
        raise BadInput(message)
    return METHODS[name]


def asks_texts(method: str) -> bool:
    """Whether the method reads class text embeddings, and therefore needs a teacher."""
    if method == ZERO_SHOT:
        return True
    return known_method(method).asks_teacher


def options_of(run: Run, base: Options) -> Options:
    """Returns the options of this run. Every run of a grid trains on one thread."""
    current = {name: value for name, value in run.options if name not in run.retired}
    return base.changed(
        **current,
        **({"method": run.method} if run.is_student else {}),
        views=run.views,
        selector=run.selector,
        target_domain=list(run.targets),
        seed=run.seed,
        threads=1,
    )


def resolved(run: Run, base: Options) -> TrainingOptions:
    """Returns the options that the run trains with.

    The method's own values apply unless the grid or the run sets an option explicitly.
    """
    options = options_of(run, base).training
    return method_of(run.method, options).settings_for(options) if run.is_student else options


def identity(run: Run, base: Options) -> str:
    """Returns a digest (16 hex digits) of all that determines the result, except data and code.

    Settings at their default are left out, so that a new option with a neutral default does not
    change the identity of earlier runs. Names and defaults are those of version 0.1. The machine
    does not count.
    """
    options = options_of(run, base)
    fields: dict[str, Any] = {
        "format": _FORMAT,
        "dataset": run.dataset,
        "targets": run.targets,
        "seed": run.seed,
        "method": stored_method_name(run.method),
        "views": run.views,
        "fraction": run.fraction,
        "selector": run.selector,
        "teacher": run.teacher,
    }
    if run.teacher != NO_TEACHER:
        fields["prompts"] = options.purchase.prompts
    if run.is_student:
        method, trained = known_method(run.method), resolved(run, base)
        fields["recipe"] = {
            "head": method.head,
            "parts": method.parts,
            "terms": unlike_defaults(asdict(method.terms_for(trained)), TERMS),
        }
        fields["training"] = _stored(trained, options) | run.retired
        fields |= _network(trained.backbone, trained.weights)
    return json_sha256(fields)[:16]


@cache
def _network(backbone: str, weights: str) -> dict[str, Any]:
    from student.models.backbone import unlike_version_0_1  # torch takes seconds to import

    if weights == "wheel" or backbone.startswith("open_clip:"):
        return {}  # as in version 0.1; what a vendor says of a tower goes with the teacher
    try:
        return unlike_version_0_1(backbone, weights)
    except BadInput:
        return {}  # no such model here; it is refused where it would be trained


def _stored(trained: TrainingOptions, options: Options) -> dict[str, Any]:
    """Returns the settings that are not at their stored default, without those of the machine."""
    settings = stored_settings(trained, image_size=options.data.image_size, seed=options.run.seed)
    return {
        name: value
        for name, value in unlike_defaults(settings, {**DEFAULTS, **LATER_DEFAULTS}).items()
        if name not in {"device", "threads", "seed"}
    }
