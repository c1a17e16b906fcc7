"""What a run trains: its settings for training, and the methods that its options name."""

from __future__ import annotations

from dataclasses import fields

from student.config import JobSettings
from student.training.config import TrainingSettings
from student.training.methods import METHODS, Method

COMPARED = ("erm", "lp-ft")


def training_settings(settings: JobSettings) -> TrainingSettings:
    """The part of the options that training reads."""
    names = {one.name for one in fields(TrainingSettings)} & JobSettings.model_fields.keys()
    return TrainingSettings(**{name: getattr(settings, name) for name in names})


def methods_of(settings: JobSettings) -> tuple[str, ...]:
    """The method that was asked for, then those it is compared with."""
    compared = COMPARED if settings.compare else ()
    return tuple(dict.fromkeys((settings.method, *compared)))


def named_method(name: str, settings: JobSettings) -> Method:
    """The method, in which options that the user gave win over the method's own choices."""
    return METHODS[name].yielding(settings.model_fields_set)


def learns_from_images(settings: JobSettings) -> bool:
    """Whether any of the run's methods reads image embeddings, so that they are worth buying."""
    plain = training_settings(settings)
    methods = (named_method(name, settings) for name in methods_of(settings))
    return any(method.terms_for(plain).reads_images for method in methods)
