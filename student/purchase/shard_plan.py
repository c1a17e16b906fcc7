"""The plan of one of several workers that together buy what one run would buy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from student.options.shard import Shard
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.plan import Plan

Planned = Callable[[Sequence[EmbeddingRequest]], Plan]


def shard_plan(
    requests: Sequence[EmbeddingRequest], shard: Shard, *, whole: Planned, own: Planned
) -> Plan:
    """The plan for the shard's part of what a run without a shard would buy.

    `whole` plans for all workers together, `own` for this worker. What the whole budget does not
    cover is left out by every worker, so that together they buy the best prefix of the order.
    """
    beyond = {request.key for request in whole(requests).left_out}
    mine = [request for request in requests if shard.has(request.key.item)]
    plan = own([request for request in mine if request.key not in beyond])
    cut = {request.key: request for request in mine if request.key in beyond}
    left_out = (*plan.left_out, *cut.values())
    ordered = (*plan.ordered, *cut.values())
    images = sum(request.key.modality == "image" for request in mine)
    return replace(
        plan,
        ordered=tuple(sorted(ordered, key=lambda request: request.key.modality != "text")),
        left_out=tuple(sorted(left_out, key=lambda request: request.key.modality != "text")),
        images_asked=images,
        texts_asked=len(mine) - images,
    )
