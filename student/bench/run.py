"""One run of a grid, as a value: what is trained on what, and what distinguishes it from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    TERMS,
    stored_method_name,
    stored_settings,
    unlike_defaults,
)

_FORMAT = "bench/1"
# The images of a grid are rendered once, in one size, so a run cannot differ in that.
_OPTIONS = TrainingOptions.identifying() - {"method"} | {"prompts"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run; make it with `new_run`, so that equal runs are equal values.

    `fraction` is the share of the training images of which `views` stored views are bought, first
    in the selector's order. `options` are those in which it differs from its grid's.
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
        """The options that left the product after version 0.1: the run cannot be made any more, but
        its row can be read."""
        return {name: value for name, value in self.options if is_retired(name, value)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Runs under a name, in the order in which they are to be made, and their common options."""

    name: str
    base: Options
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
    """Creates a run, resetting fields that its method ignores so that equal runs compare equal.

    A method that reads no image embedding buys none, and one that reads no text either has no
    teacher. Raises BadInput for a method, selector or option that does not exist.
    """
    selector(selector_name)
    chosen = tuple(sorted((options or {}).items()))
    if unknown := [
        name for name, value in chosen if name not in _OPTIONS and not is_retired(name, value)
    ]:
        message = f"a run cannot differ in {', '.join(unknown)}"
        raise BadInput(message)
    if not 0.0 <= fraction <= 1.0 or views < 1:
        message = f"cannot buy {views} views of {fraction} of the images"
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
    """The method of this name. Raises BadInput, listing all methods, if there is none."""
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


def options_of(run: Run, base: Options) -> Options:
    """The options of this run, on one thread, as all runs of a grid are trained."""
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
    """The options it trains with: the method's own, where neither the grid nor the run names
    another."""
    options = options_of(run, base).training
    return method_of(run.method, options).settings_for(options) if run.is_student else options


def identity(run: Run, base: Options) -> str:
    """A digest of all that decides the run's result, except data, machine and code.

    A setting at its default is left out, so that a new one, neutral by default, does not change the
    identity of earlier runs. Names and defaults are those of version 0.1.
    """
    options = options_of(run, base)
    told: dict[str, Any] = {
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
        told["prompts"] = options.purchase.prompts
    if run.is_student:
        method, trained = known_method(run.method), resolved(run, base)
        told["recipe"] = {
            "head": method.head,
            "parts": method.parts,
            "terms": unlike_defaults(asdict(method.terms_for(trained)), TERMS),
        }
        told["training"] = _stored(trained, options) | run.retired
    return json_sha256(told)[:16]


def _stored(trained: TrainingOptions, options: Options) -> dict[str, Any]:
    """The settings that are not at their stored default and do not depend on the machine."""
    settings = stored_settings(trained, image_size=options.data.image_size, seed=options.run.seed)
    return {
        name: value
        for name, value in unlike_defaults(settings, DEFAULTS).items()
        if name not in {"device", "threads", "seed"}
    }
