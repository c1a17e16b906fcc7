"""The vendor, its model, the account, and what the cache has on record of them."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator

from cache.audit.network import certificates, proxy_for
from cache.integrity.second_copy import second_copy_faults
from cache.paid_cache import PaidCache
from cache.records.money import dollars
from cache.reports.spend import short_fingerprint
from student.console import quiet
from student.data.demo.lay_out import is_demo_data
from student.doctor.finding import Finding, ok, warning
from student.options import Options
from student.options.purchase import api_key
from student.purchase.model_change import find_model_change
from student.purchase.session import KNOWS_EMOJI_ONLY, ask_for_model
from student.training.methods import METHODS
from student.vendor.schemas import Account, Model, Prices
from student.wires.open import open_vendor


def network(options: Options) -> Iterator[Finding]:
    """The proxy and the certificates that the environment names for this vendor."""
    proxy = proxy_for(options.purchase.vendor)
    certificates()
    through = f"through the proxy {proxy}" if proxy else "without a proxy"
    yield ok("network", f"{options.purchase.vendor} is asked {through}")


def vendor(options: Options) -> Iterator[Finding]:
    """Whether the vendor answers, knows the key and sells the model, and what it may still cost."""
    url, wire = options.purchase.vendor, options.purchase.wire
    model, prices, account = asyncio.run(_ask(options))
    if wire != "native":
        yield ok("vendor", f"a server answers at {url}; the wire {wire} has no free question")
        yield ok("model", f"{model.id}; the first run finds out whether the key may buy it")
        return
    yield ok("vendor", f"{url} answers and knows the key {account.id}")
    if model.embedded and not is_demo_data(options.data.data):
        yield warning(
            "model",
            f"{KNOWS_EMOJI_ONLY}, and these are not the demo images",
            "for photographs, have the vendor sell a real CLIP model "
            "(teacher-server serve --model NAME --pretrained TAG)",
        )
    yield ok(
        "model",
        f"{model.id} ({short_fingerprint(model.fingerprint)}), {model.dim} numbers, at "
        f"{prices.micro_usd_per_unit:,} micro-USD a query",
    )
    left = (
        f"{account.remaining_units:,} of {account.budget_units:,} queries left "
        f"({dollars(prices.cost(account.remaining_units))})"
    )
    if account.remaining_units:
        yield ok("balance", left)
    else:
        yield warning("balance", left, "ask the vendor for a larger budget of this key")
    if options.purchase.cache.is_dir():
        with PaidCache.open(options.purchase.cache) as cache:
            change = find_model_change(cache, [], model, prices)
        if change is not None:
            yield warning(
                "model", change.describe(model), "read the plan of --dry-run before you buy"
            )


async def _ask(options: Options) -> tuple[Model, Prices, Account]:
    purchase, training = options.purchase, options.training
    students = [(METHODS[name], training) for name in training.methods]
    async with open_vendor(purchase, api_key(purchase)) as client:
        # The account first: a wrong key is a wrong key, whatever the model.
        account = await client.account()
        model = await ask_for_model(client, purchase, students, quiet())
        return model, await client.prices(), account


def stored_answers(options: Options) -> Iterator[Finding]:
    """What the cache has on record: paid queries, open purchases, and a damaged second copy."""
    folder = options.purchase.cache
    if not folder.is_dir():
        yield ok("cache", f"{folder} does not exist yet: the first run makes it")
        return
    with PaidCache.open(folder) as cache:
        paid = cache.spend_on_record().committed_units
        waiting = cache.open_intents()
        faults = second_copy_faults(cache)
    yield ok("cache", f"{folder}: {paid:,} queries on record")
    command = f"cache-report --cache {shlex.quote(str(folder))}"
    if waiting:
        units = sum(intent.units for intent in waiting)
        yield warning(
            "open purchases",
            f"{len(waiting):,} of earlier runs, {units:,} queries",
            f"the next run settles them; `{command} summary` lists them",
        )
    for fault in faults:
        yield warning("second copy", fault, f"run `{command} verify --repair`")
