"""The product's own purchase over `--wire openai`, in a process that may kill itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from pydantic import SecretStr

from benchmarks.chaos.client import GAVE_UP, RETRIES, KillableCache
from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Item, Spec
from cache.errors import CacheError
from cache.paid_cache import Intent
from student.errors import StudentError
from student.options.purchase import PurchaseOptions
from student.options.section import build
from student.purchase import doubt
from student.purchase.canary import canary_units
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import make_plan
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record
from student.vendor.transport import Timing
from student.wires.open import open_vendor

POINTS = ("after-reserve", "before-store", "after-store", "before-write-off", "after-write-off")


def run_wire_client(spec: Spec) -> int:
    """Buy the spec's items into its cache. Returns 0, or GAVE_UP on an error of the product."""
    doubt.PAUSE_SECONDS = 0.05  # the vendor here needs no rest
    with History(Path(spec["history"])) as history:
        history.write("start", run=spec["run"])
        try:
            asyncio.run(_buy(spec, history))
        except (StudentError, CacheError) as error:
            history.write("end", error=type(error).__name__, detail=str(error))
            return GAVE_UP
    return 0


async def _buy(spec: Spec, history: History) -> None:
    switch = KillSwitch(history, **spec.get("kill_switch", {}))
    wire = {"wire": "openai", "vendor": spec["url"], "teacher": "chaos"}
    timing = Timing(retry=RETRIES, random=Random(spec["run"]))
    opening = open_vendor(build(PurchaseOptions, wire), SecretStr(spec["key"]), timing=timing)
    async with opening as vendor:
        (model,) = await vendor.models()
        prices = await vendor.prices()
        requests = [Item(number).request(model.fingerprint) for number in spec["items"]]
        with KillableWhereDoubtIsBooked.open(Path(spec["cache"])) as cache:
            cache.kill_switch = switch
            plan = make_plan(
                requests,
                cache=cache,
                model=model,
                prices=prices,
                budget=spec["budget"],
                canary_units=canary_units(vendor, prices),
            )
            payer = Payer(
                run=spec["run"],
                account=vendor.ledger_name(await vendor.account()),
                budget=spec["budget"],
                is_known_to_vendor=vendor.knows_purchases,
            )
            bought = await buy_and_record(
                PurchaseRecorder(PurchaseJournal(plan, cache=cache, payer=payer)),
                vendor,
                command="chaos",
                batch_size=spec["batch_size"],
                concurrency=spec["concurrency"],
            )
    history.write("end", ending=bought.stop_reason, left_out=bought.left_out)


class KillableWhereDoubtIsBooked(KillableCache):
    """A cache whose process may also be killed after it reserves, and around a write-off."""

    def reserve(self, intent: Intent, *, budget: int) -> None:
        super().reserve(intent, budget=budget)
        self.kill_switch.reach("after-reserve")

    def write_off(self, intent: Intent, *, account: str, detail: str) -> None:
        self.kill_switch.reach("before-write-off")
        super().write_off(intent, account=account, detail=detail)
        self.kill_switch.reach("after-write-off")
