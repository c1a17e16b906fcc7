"""A run that buys one shard: the options that it sets, and those that it cannot have."""

from __future__ import annotations

from student.errors import BadInput
from student.options.options import Options
from student.options.training import AUTO_METHODS

_ASKS_FIRST = ("margin", "hybrid")


def shardable(options: Options) -> Options:
    """The options of a run that buys one shard: for `auto`, all that it may read.

    Options without a shard are returned as they are. Raises BadInput for a purchase that depends on
    its own answers.
    """
    if options.purchase.part is None:
        return options
    if options.training.is_auto:  # a worker only buys, so there is nothing to choose
        options = options.changed(method=AUTO_METHODS[-1])
    if options.purchase.selector in _ASKS_FIRST:
        message = (
            f"--shard: --selector {options.purchase.selector} chooses images by the answers to "
            "others, and a worker has only its own answers. Nothing was bought; name another, or "
            "buy without --shard"
        )
        raise BadInput(message)
    return options
