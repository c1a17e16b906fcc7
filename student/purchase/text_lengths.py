"""Refuses a plan with texts that the model would not read to their end, before anything is paid."""

from __future__ import annotations

from student.errors import BadInput
from student.purchase.plan import Plan
from student.wires.protocol import Vendor

_MOST_NAMED = 10


async def require_whole_texts(vendor: Vendor, plan: Plan) -> None:
    """Ask the vendor, free of charge, how many tokens each text to be bought has.

    Raises BadInput, which names the texts that are longer than the model's context length, and
    VendorError where the vendor would refuse a text for another reason. A vendor that cannot count
    tokens is trusted to refuse such texts at the purchase.
    """
    texts = [request for request in plan.to_buy if request.key.modality == "text"]
    if not texts:
        return
    sent = [request.item().payload.decode("utf-8") for request in texts]
    counts = await vendor.token_counts(plan.model, sent)
    limit = plan.model.context_length
    long = [
        f"{request.name} ({count} tokens)"
        for request, count in zip(texts, counts or [], strict=False)
        if count > limit
    ]
    if not long:
        return
    more = f" and {len(long) - _MOST_NAMED:,} more" if len(long) > _MOST_NAMED else ""
    detail = (
        f"{len(long):,} of {len(texts):,} texts are longer than the {limit} tokens that "
        f"{plan.model.id} reads: {', '.join(long[:_MOST_NAMED])}{more}. Nothing was bought; "
        "shorten them, or the names of the classes and domains that they are made from"
    )
    raise BadInput(detail)
