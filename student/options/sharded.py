"""A run that buys one shard: the options that it cannot have."""

from __future__ import annotations

from student.errors import BadInput
from student.options.options import Options

_ASKS_FIRST = ("margin", "hybrid")


def require_shardable(options: Options) -> None:
    """Raises BadInput for a shard of a purchase that depends on its own answers."""
    if options.purchase.part is None:
        return
    reason = ""
    if options.purchase.selector in _ASKS_FIRST:
        reason = f"--selector {options.purchase.selector} chooses images by the answers to others"
    elif options.training.is_auto:
        reason = "--method auto decides by the first answers whether to buy the rest"
    if reason:
        message = (
            f"--shard: {reason}, and a worker has only its own answers. Nothing was bought; name "
            "another, or buy without --shard"
        )
        raise BadInput(message)
