"""The operator's pages make the same changes as the admin API, once, and only for an operator."""

from __future__ import annotations

import html
import re

import pytest

from benchmarks.support.vendor_in_process import Vendor
from tests.support.html_tables import Page
from tests.support.page_visits import PageVisitor

TOKEN = re.compile(r"sk_[A-Za-z0-9-]+_[A-Za-z0-9_-]{43}")


def key_page(shop: Vendor) -> str:
    return f"/admin/pages/keys/{shop.key.id}"


async def test_a_key_without_the_admin_scope_sees_and_changes_nothing(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.key, "/admin")
    for path in ("/admin", key_page(shop), "/admin/pages/verify"):
        page = await visitor.go(path)
        assert page.status_code == 403
        assert "scope `admin`" in page.text
    await visitor.go("/")
    refused = await visitor.send(f"{key_page(shop)}/topup", units="5")
    assert refused.status_code == 403
    assert shop.account.budget_units == 100


async def test_who_has_not_signed_in_is_sent_to_sign_in(shop: Vendor, visitor: PageVisitor) -> None:
    assert (await visitor.go("/admin")).status_code == 200
    for path in (key_page(shop), "/admin/pages/verify"):
        assert (await visitor.go(path)).headers["location"] == "/admin?ended=yes"
    sent = await visitor.send(f"{key_page(shop)}/revoke", confirm="yes")
    assert sent.headers["location"] == "/admin?ended=yes"
    assert shop.account.revoked_ms is None


async def test_all_keys_are_listed_with_their_figures(shop: Vendor, operator: PageVisitor) -> None:
    await shop.embed(["a", "b", "c"])
    page = Page((await operator.go("/admin")).text)
    (caption,) = [name for name in page.tables if name.startswith("2 keys")]
    (row,) = [row for row in page.rows(caption) if row[1] == shop.key.id]
    assert row[2:7] == ["97", "3", "0", "100", "embed, read"]


async def test_a_created_key_is_shown_once_and_buys(shop: Vendor, operator: PageVisitor) -> None:
    page = await operator.send(
        "/admin/pages/keys",
        name='<b>"lab"</b>',
        budget_units="1,000",
        period="day",
        scopes=["embed"],
        max_concurrent="3",
        expires="2100-01-02T03:04",
    )
    assert page.status_code == 200
    token = TOKEN.search(page.text)
    assert token is not None
    account = shop.ledger.keys.get(token[0].split("_")[1])
    assert (account.name, account.allowance_units, account.budget_period) == (
        '<b>"lab"</b>',
        1000,
        "day",
    )
    assert (account.scopes, account.max_concurrent) == (("embed",), 3)
    assert account.expires_ms == 4_102_542_240_000
    assert "<b>" not in (await operator.go(f"/admin/pages/keys/{account.id}")).text
    assert token[0] not in operator.page.text
    sold = await shop.http.post(
        "/v1/embeddings",
        json={"model": shop.model, "input": ["a"]},
        headers={"Authorization": f"Bearer {token[0]}"},
    )
    assert sold.status_code == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget_units": "many"}, "`budget_units` is not a whole number"),
        ({"budget_units": ""}, "`budget_units` is not valid"),
        ({"budget_units": "9" * 18}, "`budget_units` is not valid"),
        ({"name": ""}, "`name` is not valid"),
        ({"scopes": []}, "`scopes` is not valid"),
        ({"period": "week"}, "`period` is not valid"),
        ({"expires": "tomorrow"}, "`expires` is not a date"),
        ({"max_concurrent": "0"}, "`max_concurrent` is not valid"),
    ],
)
async def test_a_form_that_is_not_valid_creates_no_key_and_says_why(
    shop: Vendor, operator: PageVisitor, fields: dict[str, str], message: str
) -> None:
    whole = {"name": "n", "budget_units": "5", "period": "none", "scopes": "embed"} | fields
    page = await operator.send("/admin/pages/keys", **whole)
    assert page.status_code == 400
    assert message.casefold() in html.unescape(page.text).casefold()
    assert len(shop.ledger.keys.all()) == 2


async def test_a_top_up_sent_twice_is_granted_once(shop: Vendor, operator: PageVisitor) -> None:
    await operator.go(key_page(shop))
    for _ in range(2):
        answer = await operator.send(f"{key_page(shop)}/topup", units="50")
        assert answer.headers["location"] == f"{key_page(shop)}?done=topped-up"
    assert shop.account.budget_units == 150
    await operator.go(answer.headers["location"])
    assert "The queries were added" in operator.page.text
    await operator.send(f"{key_page(shop)}/topup", units="50")
    assert shop.account.budget_units == 200


async def test_only_the_limits_that_differ_are_changed(shop: Vendor, operator: PageVisitor) -> None:
    shop.ledger.keys.set_limits(shop.key.id, expires_ms=4_102_542_240_123)
    page = (await operator.go(key_page(shop))).text
    shown = re.search(r'name="expires" [^>]*value="([^"]+)"', page)
    assert shown is not None
    await operator.send(
        f"{key_page(shop)}/limits", expires=shown[1], scopes=["embed", "read"], max_concurrent="7"
    )
    account = shop.account
    assert (account.expires_ms, account.max_concurrent) == (4_102_542_240_123, 7)
    await operator.send(f"{key_page(shop)}/limits", scopes=["read"])
    account = shop.account
    assert (account.expires_ms, account.max_concurrent, account.scopes) == (None, None, ("read",))


async def test_revoking_and_rotating_need_a_tick(shop: Vendor, operator: PageVisitor) -> None:
    await operator.go(key_page(shop))
    for change in ("rotate", "revoke"):
        refused = await operator.send(f"{key_page(shop)}/{change}")
        assert refused.status_code == 400
        assert "nothing was changed" in refused.text
    assert (await shop.embed(["a"])).status_code == 200
    page = await operator.send(f"{key_page(shop)}/rotate", confirm="yes")
    assert TOKEN.search(page.text) is not None
    assert (await shop.embed(["a"])).status_code == 401
    await operator.send(f"{key_page(shop)}/revoke", confirm="yes")
    assert shop.account.revoked_ms is not None
    assert "Revoke the key" not in (await operator.go(key_page(shop))).text


async def test_a_refund_sent_twice_is_made_once_and_names_the_operator(
    shop: Vendor, operator: PageVisitor
) -> None:
    charge = (await shop.embed(["a", "b", "c"])).json()["receipt"]["request_id"]
    await operator.go(f"{key_page(shop)}?refund={charge}")
    assert f'value="{charge}"' in operator.page.text
    for _ in range(2):
        page = await operator.send(
            "/admin/pages/corrections",
            request_id=charge,
            units="2",
            cost_micro_usd="200",
            reason="wrong",
        )
        assert "2 queries and $0.0002" in page.text
    assert shop.account.spent_units == 1
    (correction,) = shop.ledger.records.corrections(charge)
    assert correction.actor.startswith("key ")
    assert "wrong" in (await operator.go("/admin")).text
    over = await operator.send(
        "/admin/pages/corrections", request_id=charge, units="2", reason="again", form_id="another"
    )
    assert over.status_code == 400
    assert shop.audit.faults == ()


async def test_an_unknown_key_or_charge_is_a_page(operator: PageVisitor) -> None:
    assert (await operator.go("/admin/pages/keys/nobody")).status_code == 404
    assert (await operator.go("/admin/pages/keys/a%00b")).status_code == 404
    await operator.go("/admin")
    page = await operator.send(
        "/admin/pages/corrections", request_id="req_x", units="1", reason="r", form_id="f"
    )
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_the_whole_ledger_is_verified(shop: Vendor, operator: PageVisitor) -> None:
    await shop.embed(["a"])
    page = await operator.go("/admin/pages/verify")
    assert "No faults" in page.text


async def test_the_operator_sees_how_busy_the_server_is(
    shop: Vendor, operator: PageVisitor
) -> None:
    for number in range(1, 4):
        await shop.embed(["a"] * number)
    page = await operator.go("/admin")
    counted = re.findall(
        r'<th scope="row">([^<]+)</th><td class="n" data-value="([1-9]\d*)"', page.text
    )
    sales = shop.app.state.services.metrics.distribution("request_seconds", "/v1/embeddings")
    assert sales.count == 3
    texts = shop.app.state.services.metrics.distribution("batch_items", "text")
    assert [count for _, count in texts.ranges][1:3] == [1, 1]
    assert sum(int(number) for _, number in counted) >= sales.count + texts.count
    assert "<dt>Sales requests</dt><dd>3</dd>" in page.text
