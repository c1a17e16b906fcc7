"""A run on images without labels: the options that it sets, and those that it refuses."""

from __future__ import annotations

from student.errors import BadInput
from student.options.options import Options

_METHODS = ("image-only", "simkd")  # of which every term reads the image's own embedding
_READ_CLASSES = ("margin", "hybrid")


def without_classes(options: Options) -> Options:
    """The options of a run without labels, by `image-only` unless a method is named.

    Options with labels are returned as they are. Raises BadInput for what needs classes.
    """
    if not options.data.unlabelled:
        return options
    if "method" not in options.training.model_fields_set:
        options = options.changed(method=_METHODS[0])
    training, chosen = options.training, options.purchase.selector
    reason = ""
    if training.method not in _METHODS:
        reason = f"--method {training.method} learns from classes; use {' or '.join(_METHODS)}"
    elif options.data.hold_out_classes:
        reason = "--hold-out-classes names classes"
    elif training.compare:
        reason = "--compare trains on classes"
    elif chosen in _READ_CLASSES:
        reason = f"--selector {chosen} reads class texts"
    elif training.text_targets:
        reason = "--text-targets reads class texts"
    if reason:
        message = f"--unlabelled: {reason}. Nothing was bought"
        raise BadInput(message)
    return options
