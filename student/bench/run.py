"""One run of a grid, as a value: what is trained on what, and what tells it from every other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from student.acquisition.strategies import selector
from student.bench.constants import NO_TEACHER, ZERO_SHOT
from student.config import JobSettings
from student.errors import BadInput
from student.run_methods import training_settings
from student.training.config import TrainingSettings
from student.training.methods import METHODS, Method
from student.training.serial import DEFAULTS, TERMS, stored_settings, unlike_defaults

_FORMAT = "bench/1"
# Where a run is made, not what it is.
_ELSEWHERE = frozenset({"device", "threads", "seed"})
# The images of a grid are rendered once, in one size.
_OPTIONS = frozenset(
    {one.name for one in fields(TrainingSettings)} & JobSettings.model_fields.keys() | {"prompts"}
) - {*_ELSEWHERE, "image_size"}

Option = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run; make it with `new_run`, so that equal runs are equal values.

    `fraction` is the share of the training images of which `views` stored views are bought, first
    in the selector's order. `options` are the settings in which it differs from its grid's.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Runs under a name, in the order in which they are to be made, and their common settings."""

    name: str
    base: JobSettings
    runs: tuple[Run, ...]

    def ids(self) -> dict[str, Run]:
        """The runs by their identity, each once."""
        return {identity(run, self.base): run for run in self.runs}


def new_run(
    *,
    dataset: str,
    targets: Sequence[str],
    seed: int,
    method: str,
    views: int = 1,
    fraction: float = 1.0,
    selector_name: str = "random",
    teacher: str = "embedded",
    options: Mapping[str, Option] | None = None,
) -> Run:
    """The run, with all that its method does not read put aside.

    A method that reads no image embedding buys none, and one that asks the teacher nothing has no
    teacher. Raises BadInput for a method, selector or option that does not exist.
    """
    selector(selector_name)
    chosen = tuple(sorted((options or {}).items()))
    if unknown := [name for name, _ in chosen if name not in _OPTIONS]:
        message = f"a run cannot differ in {', '.join(unknown)}"
        raise BadInput(message)
    if not 0.0 <= fraction <= 1.0 or views < 1:
        message = f"{fraction} of the images in {views} views cannot be bought"
        raise BadInput(message)
    run = Run(
        dataset=dataset,
        targets=tuple(sorted(targets)),
        seed=seed,
        method=method,
        views=views,
        fraction=fraction,
        selector=selector_name,
        teacher=teacher,
        options=chosen,
    )
    if method == ZERO_SHOT:
        return replace(run, views=1, fraction=0.0, selector="random")
    if not known_method(method).reads_images:
        run = replace(run, fraction=0.0)
    if run.fraction == 0.0:
        run = replace(run, views=1)
    if run.fraction in (0.0, 1.0):
        run = replace(run, selector="random")
    return run if asks_texts(method) else replace(run, teacher=NO_TEACHER)


def known_method(name: str) -> Method:
    """The method of this name; BadInput, naming them all, where there is none."""
    if name not in METHODS:
        message = f"no method {name}; there are {', '.join((*METHODS, ZERO_SHOT))}"
        raise BadInput(message)
    return METHODS[name]


def asks_texts(method: str) -> bool:
    """Whether the method reads the class texts, and so has a teacher at all."""
    if method == ZERO_SHOT:
        return True
    chosen = known_method(method)
    return chosen.head != "class" or chosen.terms.kd > 0


def settings_of(run: Run, base: JobSettings) -> JobSettings:
    """The options of this run's job, on one thread, as all runs of a grid are."""
    return base.model_copy(
        update={
            **dict(run.options),
            **({} if run.method == ZERO_SHOT else {"method": run.method}),
            "views": run.views,
            "selector": run.selector,
            "target_domain": list(run.targets),
            "seed": run.seed,
            "threads": 1,
        }
    )


def resolved(run: Run, base: JobSettings) -> TrainingSettings:
    """What it trains with: the method's own settings, where the grid or the run names none."""
    settings = settings_of(run, base)
    plain = training_settings(settings)
    if not run.is_student:
        return plain
    return known_method(run.method).yielding(settings.model_fields_set).settings_for(plain)


def identity(run: Run, base: JobSettings) -> str:
    """A digest of all that decides the run's result, but for data, machine and code.

    A setting at its default does not count, so that a new one, neutral by default, leaves the
    identity of the runs before it as it was.
    """
    settings = settings_of(run, base)
    told: dict[str, Any] = {
        "format": _FORMAT,
        "dataset": run.dataset,
        "targets": run.targets,
        "seed": run.seed,
        "method": run.method,
        "views": run.views,
        "fraction": run.fraction,
        "selector": run.selector,
        "teacher": run.teacher,
    }
    if run.teacher != NO_TEACHER:
        told["prompts"] = settings.prompts
    if run.is_student:
        method = known_method(run.method)
        told["recipe"] = {
            "head": method.head,
            "parts": method.parts,
            "terms": unlike_defaults(asdict(method.terms_for(resolved(run, base))), TERMS),
        }
        used = stored_settings(resolved(run, base))
        told["training"] = {
            name: value
            for name, value in unlike_defaults(used, DEFAULTS).items()
            if name not in _ELSEWHERE
        }
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
