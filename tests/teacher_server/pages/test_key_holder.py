"""A key holder sees what the API says of the key, and its ledger with the chain verified."""

from __future__ import annotations

import html

from benchmarks.support.vendor_in_process import Vendor
from teacher_server.ledger.clock import unix_ms
from teacher_server.pages.usage import DAY, HOUR, usage_rows
from tests.support.html_tables import Page
from tests.support.ledger_operations import tamper
from tests.support.page_visits import PageVisitor


async def test_the_figures_are_those_of_the_api(shop: Vendor, visitor: PageVisitor) -> None:
    await shop.embed(["a", "b", "c"])
    await visitor.sign_in(shop.key)
    standing = (await shop.http.get("/v1/key")).json()
    figures = (await visitor.go("/spend")).json()
    assert figures == {"remaining": "97", "used": "3", "reserved": "0", "today": "$0.0003"}
    assert (standing["remaining_units"], standing["used_units"]) == (97, 3)


async def test_a_purchase_is_seen_in_its_hour_and_its_day(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await shop.embed(["a", "b", "c"])
    await visitor.sign_in(shop.key)
    page = Page(visitor.page.text)
    assert "0 images and 3 texts in 1 paid requests; 3 queries for $0.0003" in visitor.page.text
    for span in ("hour, last 48 hours", "day, last 30 days"):
        rows = page.rows(f"Queries by {span}")
        assert [row[1:] for row in rows if row[1] != "0"] == [["3", "0", "3", "$0.0003"]]


async def test_usage_has_a_row_for_each_hour_and_day(shop: Vendor) -> None:
    await shop.embed(["a", "b"])
    now = unix_ms() // 1000
    records = shop.ledger.records
    hours = usage_rows(records, shop.key.id, width=HOUR, now=now)
    days = usage_rows(records, shop.key.id, width=DAY, now=now)
    assert (len(hours), len(days)) == (48, 30)
    assert [row.units for row in hours] == [0] * 47 + [2]
    assert [row.units for row in days] == [0] * 29 + [2]


async def test_a_budget_that_is_used_up_is_explained(shop: Vendor, visitor: PageVisitor) -> None:
    await shop.embed(["a"] * 100)
    assert (await shop.embed(["a"])).status_code == 402
    await visitor.sign_in(shop.key)
    assert "every purchase gets 402" in visitor.page.text


async def test_a_key_that_may_not_read_sees_its_balance_alone(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.another_key(scopes=("embed",)))
    assert "has no scope <code>read</code>" in visitor.page.text
    assert "today" not in (await visitor.go("/spend")).json()
    assert (await visitor.go("/ledger")).status_code == 403


async def test_the_ledger_is_shown_in_parts_that_lead_to_each_other(
    shop: Vendor, visitor: PageVisitor
) -> None:
    for _ in range(60):
        await shop.embed(["a"])
    await visitor.sign_in(shop.key)
    seen: list[str] = []
    path = "/ledger"
    while path:
        page = Page((await visitor.go(path)).text)
        assert "Chain verified" in visitor.page.text
        seen += [row[0] for row in page.rows("Entries, newest first")]
        path = next((link for link in page.links if "before" in link), "")
    assert seen == [str(number) for number in range(61, 0, -1)]


async def test_an_altered_entry_is_named_where_it_is_shown(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await shop.embed(["a"])
    tamper(shop.engine, "UPDATE ledger_entries SET cost_micro_usd = 1 WHERE seq = 2")
    await visitor.sign_in(shop.key)
    page = html.unescape((await visitor.go("/ledger")).text)
    assert "The chain is broken." in page
    assert f"key {shop.key.id} seq 2: the entry was altered" in page
    assert "Chain verified" not in page


async def test_an_address_that_is_not_valid_is_a_page(shop: Vendor, visitor: PageVisitor) -> None:
    await visitor.sign_in(shop.key)
    page = await visitor.go("/ledger?before=x")
    assert (page.status_code, page.headers["content-type"]) == (400, "text/html; charset=utf-8")
