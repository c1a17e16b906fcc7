"""Whether the vendor's model has changed since earlier runs, and what the change costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.records.embedding_key import EmbeddingKey
from cache.records.money import dollars
from cache.reports.spend import iso_time, short_fingerprint
from cache.storage.reader import CacheReader
from student.vendor.schemas import Model, Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """A model of the same id and another fingerprint, from which the cache has answers.

    `run` is the last run that used it and `last_ms` when, in Unix milliseconds. `kept` of its
    answers stay in the cache; `bought_anew` are items that the plan needs from today's model
    although the former one has answered them, for `cost_micro_usd` in all.
    """

    former: str
    run: str
    last_ms: int
    kept: int
    bought_anew: int
    cost_micro_usd: int

    def describe(self, model: Model) -> str:
        """The change as sentences for the plan."""
        return (
            f"the vendor's model {model.id} has changed since run {self.run}"
            f" ({iso_time(self.last_ms)}): it was {short_fingerprint(self.former)} and is"
            f" {short_fingerprint(model.fingerprint)}. The embeddings of the two do not mix."
            f" {self.kept:,} answers of the former model are kept in the cache;"
            f" {self.bought_anew:,} embeddings that it has answered are needed from the new model,"
            f" for {dollars(self.cost_micro_usd)}"
        )


def find_model_change(
    cache: CacheReader, pending: Sequence[EmbeddingKey], model: Model, prices: Prices
) -> ModelChange | None:
    """The former model of this id, until what it has answered is paid for again.

    `pending` are the keys of today's model that are neither paid nor refused.
    """
    used = _last_uses(cache, model.id)
    is_first_use = used.pop(model.fingerprint, None) is None
    if not used:
        return None
    former = max(used, key=lambda fingerprint: used[fingerprint][0])
    before = [replace(key, model_fingerprint=former) for key in pending]
    missing = set(cache.missing(before))
    answered = [key for key in before if key not in missing]
    if not answered and not is_first_use:
        return None
    last_ms, run = used[former]
    return ModelChange(
        former=former,
        run=run,
        last_ms=last_ms,
        kept=sum(row.key.model_fingerprint == former for row in cache.rows()),
        bought_anew=len(answered),
        cost_micro_usd=prices.cost(sum(prices.units_for(key.modality) for key in answered)),
    )


def _last_uses(cache: CacheReader, model_id: str) -> dict[str, tuple[int, str]]:
    """The time and the name of the last run that used each fingerprint of this model."""
    used: dict[str, tuple[int, str]] = {}
    uses = [
        (one.receipt.model, one.receipt.model_fingerprint, one.receipt.created_ms, one.run)
        for one in cache.stored_receipts()
    ]
    uses += [(run.model, run.model_fingerprint, run.started_ms, run.run) for run in cache.runs()]
    for model, fingerprint, time_ms, run in uses:
        if model == model_id:
            used[fingerprint] = max(used.get(fingerprint, (time_ms, run)), (time_ms, run))
    return used
