"""Plans and buys embeddings of single images and texts, for use as a library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import SecretStr

from cache.integrity.second_copy import second_copy_faults
from cache.paid_cache import PaidCache
from student.data.folder.image_file import ImageFile, read_image_file
from student.embeddings.keys import original_key, text_key
from student.errors import BadInput
from student.options.purchase import PurchaseOptions
from student.options.section import build
from student.options.wire import WireOptions
from student.purchase.canary import canary_units
from student.purchase.embedding_requests import (
    EmbeddingRequest,
    text_requests,
    whole_image_request,
)
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record, named_in, new_run_name
from student.purchase.text_lengths import require_whole_texts
from student.vendor.schemas import Model
from student.wires.open import open_vendor
from student.wires.protocol import Vendor

_log = logging.getLogger(__name__)
_COMMAND = "student.EmbeddingBuyer.buy"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoughtEmbeddings:
    """The embeddings that are on hand after a purchase, as float32 unit vectors (D,).

    An image or a text that the budget did not cover, or that the vendor refused, is not in
    `images` or `texts`; `summary` says how many and why. `plan.unfit` are the images that were not
    sent, because this vendor would refuse them.
    """

    images: dict[Path, NDArray[np.float32]]
    texts: dict[str, NDArray[np.float32]]
    plan: Plan
    summary: PurchaseSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingBuyer:
    """Buys embeddings of image files and texts from a vendor, each at most once.

    `vendor` is the base URL and `key` the API key. Every paid answer is kept in the folder `cache`,
    which `distill-client` may share. `budget` is the most queries that this cache may ever pay for.
    `model` is the id of the vendor's model; None means its first. `wire` says how another vendor
    than this project's own is spoken to, and needs a `model`.

    The methods run an event loop of their own: call them from code that is not asynchronous. They
    raise StudentError (BadInput, VendorError and others) and `cache.CacheError`.
    """

    vendor: str
    key: SecretStr = field(repr=False)
    cache: Path
    budget: int
    model: str | None = None
    wire: WireOptions | None = None

    def plan(self, images: Sequence[Path] = (), texts: Sequence[str] = ()) -> Plan:
        """What a purchase would buy and cost. Spends nothing; asks the vendor for its prices."""

        async def planned() -> Plan:
            with PaidCache.open(self.cache) as cache:
                async with open_vendor(self._options(), self.key) as client:
                    files = list(map(read_image_file, images))
                    return (await self._plan(client, cache, files, texts))[0]

        return asyncio.run(planned())

    def buy(self, images: Sequence[Path] = (), texts: Sequence[str] = ()) -> BoughtEmbeddings:
        """Buy what is not in the cache yet, within the budget, and return what is on hand.

        Texts come first, then the images in their order. An interrupted call loses nothing: the
        next call continues, and pays for nothing twice.
        """
        return asyncio.run(self._buy(images, texts))

    async def _buy(self, images: Sequence[Path], texts: Sequence[str]) -> BoughtEmbeddings:
        with PaidCache.open(self.cache) as cache:
            async with open_vendor(self._options(), self.key) as client:
                files = list(map(read_image_file, images))
                plan, account = await self._plan(client, cache, files, texts)
                payer = Payer(
                    run=new_run_name("api"),
                    account=account,
                    budget=plan.budget,
                    is_known_to_vendor=client.knows_purchases,
                )
                recorder = PurchaseRecorder(PurchaseJournal(plan, cache=cache, payer=payer))
                summary = await buy_and_record(recorder, client, command=_COMMAND)
            found = cache.fetch([request.key for request in plan.ordered])
            fingerprint = plan.model.fingerprint
            image_keys = {file.path: original_key(fingerprint, file) for file in files}
            text_keys = {text: text_key(fingerprint, text) for text in texts}
        return BoughtEmbeddings(
            images={path: found[key].vector for path, key in image_keys.items() if key in found},
            texts={text: found[key].vector for text, key in text_keys.items() if key in found},
            plan=plan,
            summary=summary,
        )

    def _options(self) -> PurchaseOptions:
        wire = (
            {}
            if self.wire is None
            else {n: getattr(self.wire, n) for n in WireOptions.model_fields}
        )
        values = {"vendor": self.vendor, "teacher": self.model, "concurrency": 16, **wire}
        return build(PurchaseOptions, values)

    async def _plan(
        self,
        client: Vendor,
        cache: PaidCache,
        files: Sequence[ImageFile],
        texts: Sequence[str],
    ) -> tuple[Plan, str]:
        """The plan, and the name of the account that would pay."""
        for fault in second_copy_faults(cache):
            _log.warning("%s", fault)
        model = named_in(cache, choose_model(await client.models(), self.model))
        prices = await client.prices()
        account = await client.account()
        payable = cache.spend_on_record().committed_units + account.remaining_units
        plan = make_plan(
            [*text_requests(model.fingerprint, texts), *_image_requests(model, files)],
            cache=cache,
            model=model,
            prices=prices,
            budget=min(self.budget, payable),
            limited_by="client budget" if self.budget <= payable else "vendor budget",
            canary_units=canary_units(client, prices),
        )
        await require_whole_texts(client, plan)
        return plan, client.ledger_name(account)


def choose_model(models: Sequence[Model], name: str | None) -> Model:
    """The model of this id, or the first. Raises BadInput, listing the ids, if there is none."""
    for model in models:
        if name is None or model.id == name:
            return model
    message = f"the vendor has no model {name}; it sells {', '.join(m.id for m in models)}"
    raise BadInput(message)


def _image_requests(model: Model, files: Sequence[ImageFile]) -> list[EmbeddingRequest]:
    return [
        whole_image_request(
            original_key(model.fingerprint, file), file, model.limits, str(file.path)
        )
        for file in files
    ]
