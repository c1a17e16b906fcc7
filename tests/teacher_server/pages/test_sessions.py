"""A session is of one key, in one browser, for a while; a stolen page or cookie is worth little."""

from __future__ import annotations

import pytest

from benchmarks.support.vendor_in_process import Vendor
from teacher_server.ledger.clock import unix_ms
from teacher_server.pages.security import session as sessions
from tests.support.page_visits import ORIGIN, PageVisitor

SIGNED_OUT = "Your API key shows its balance"


async def test_the_key_is_neither_in_the_cookie_nor_in_a_page(
    shop: Vendor, visitor: PageVisitor
) -> None:
    answer = await visitor.sign_in(shop.key)
    cookie = answer.headers["set-cookie"]
    assert shop.key.secret not in cookie
    for path in ("/", "/ledger", "/spend"):
        page = await visitor.go(path)
        assert page.status_code == 200
        assert shop.key.secret not in page.text


async def test_no_script_and_no_other_site_can_use_the_cookie(
    shop: Vendor, visitor: PageVisitor
) -> None:
    cookie = (await visitor.sign_in(shop.key)).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    data = {"key": shop.key.token}
    safe = await visitor.http.post(
        "https://vendor/sign-in", data=data, headers={"Origin": "https://vendor"}
    )
    assert "Secure" in safe.headers["set-cookie"].split("; ")


async def test_a_page_runs_and_loads_only_the_vendors_files_and_is_not_kept(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.key)
    for path in ("/", "/ledger", "/admin"):
        headers = (await visitor.go(path)).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {
            "'self'"
        }
        assert headers["cache-control"] == "no-store"


async def test_a_wrong_unknown_revoked_or_expired_key_is_refused_alike(
    shop: Vendor, visitor: PageVisitor
) -> None:
    revoked, expired = shop.another_key(), shop.another_key(expires_ms=1)
    shop.ledger.keys.revoke(revoked.id)
    wrong = f"sk_{shop.key.id}_{'0' * 43}"
    tokens = [revoked.token, expired.token, wrong, f"sk_nobody_{'0' * 43}", "x", ""]
    pages = [await visitor.sign_in(token) for token in tokens]
    assert {page.status_code for page in pages} == {401}
    assert len({page.text for page in pages}) == 1
    assert "set-cookie" not in pages[0].headers


async def test_a_revoked_or_rotated_key_ends_its_sessions(
    shop: Vendor, visitor: PageVisitor
) -> None:
    for end in (shop.ledger.keys.rotate, shop.ledger.keys.revoke):
        key = shop.another_key()
        await visitor.sign_in(key)
        assert SIGNED_OUT not in (await visitor.go("/")).text
        end(key.id)
        assert SIGNED_OUT in (await visitor.go("/")).text
        assert (await visitor.go("/spend")).status_code == 204


async def test_an_expired_key_ends_its_session(shop: Vendor, visitor: PageVisitor) -> None:
    await visitor.sign_in(shop.key)
    shop.ledger.keys.set_limits(shop.key.id, expires_ms=unix_ms() - 1)
    assert SIGNED_OUT in (await visitor.go("/")).text


async def test_a_session_ends_after_a_while(
    shop: Vendor, visitor: PageVisitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await visitor.sign_in(shop.key)
    monkeypatch.setattr(sessions, "SESSION_SECONDS", -1)
    assert SIGNED_OUT in (await visitor.go("/")).text


async def test_a_cookie_of_another_key_or_another_content_is_no_session(
    shop: Vendor, visitor: PageVisitor
) -> None:
    other = shop.another_key()
    await visitor.sign_in(shop.key)
    _, _, signed = visitor.http.cookies[sessions.COOKIE].partition(".")
    for cookie in (f"{other.id}.{signed}", f"{shop.key.id}.{signed[1:]}", shop.key.id, "a\\000b."):
        visitor.http.cookies.clear()
        visitor.http.cookies.set(sessions.COOKIE, cookie)
        assert SIGNED_OUT in (await visitor.go("/")).text


async def test_a_form_without_the_token_of_its_session_changes_nothing(
    shop: Vendor, operator: PageVisitor
) -> None:
    for token in ("", "x" * 32, "\u00e9"):
        answer = await operator.http.post(
            f"/admin/pages/keys/{shop.key.id}/topup",
            data={"units": "5", "form_id": "a", "csrf_token": token},
        )
        assert answer.status_code == 400
        assert "nothing was changed" in answer.text
    assert shop.account.budget_units == 100


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://elsewhere"},
        {"Origin": "null"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "none"},
    ],
)
async def test_a_form_from_another_site_signs_nobody_in(
    shop: Vendor, visitor: PageVisitor, headers: dict[str, str]
) -> None:
    answer = await visitor.http.post("/sign-in", data={"key": shop.key.token}, headers=headers)
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


async def test_signing_out_removes_the_cookie_and_needs_the_token(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.key)
    assert (await visitor.http.post("/sign-out", data={"a": "b"})).status_code == 400
    assert SIGNED_OUT not in (await visitor.go("/")).text
    assert (await visitor.send("/sign-out")).headers["location"] == "/"
    assert SIGNED_OUT in (await visitor.go("/")).text


async def test_signing_out_ends_the_session_for_a_copy_of_its_cookie_and_no_other(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.key)
    other = visitor.http.cookies[sessions.COOKIE]
    visitor.http.cookies.clear()
    await visitor.sign_in(shop.key)
    copied = visitor.http.cookies[sessions.COOKIE]
    await visitor.send("/sign-out")
    for cookie, is_ended in ((copied, True), (other, False)):
        visitor.http.cookies.clear()
        visitor.http.cookies.set(sessions.COOKIE, cookie)
        assert (SIGNED_OUT in (await visitor.go("/")).text) is is_ended
        assert (await visitor.go("/spend")).status_code == (204 if is_ended else 200)


async def test_a_form_that_was_open_when_the_session_ended_changes_nothing(
    shop: Vendor, operator: PageVisitor
) -> None:
    await operator.go("/admin")
    page, cookie = operator.page, operator.http.cookies[sessions.COOKIE]
    await operator.send("/sign-out")
    operator.http.cookies.set(sessions.COOKIE, cookie)
    operator.page = page
    answer = await operator.send(f"/admin/pages/keys/{shop.key.id}/topup", units="5")
    assert answer.headers["location"] == "/admin?ended=yes"
    assert shop.account.budget_units == 100


async def test_signing_in_leads_to_no_other_place(shop: Vendor, visitor: PageVisitor) -> None:
    answer = await visitor.sign_in(shop.key, "https://elsewhere")
    assert answer.headers["location"] == "/"


async def test_tries_to_sign_in_are_limited(shop: Vendor, visitor: PageVisitor) -> None:
    statuses = [(await visitor.sign_in("sk_a_b")).status_code for _ in range(31)]
    assert statuses == [401] * 30 + [429]
    refused = await visitor.sign_in(shop.key)
    assert int(refused.headers["retry-after"]) >= 1


async def test_looking_at_pages_takes_nothing_from_what_the_key_may_send(
    shop: Vendor, visitor: PageVisitor
) -> None:
    key = shop.another_key(requests_per_minute=2)
    await visitor.sign_in(key)
    for _ in range(5):
        assert (await visitor.go("/spend")).status_code == 200
    assert (await shop.http.get("/v1/key", headers=shop.of(key))).status_code == 200


async def test_the_pages_of_one_session_are_limited(shop: Vendor, visitor: PageVisitor) -> None:
    await visitor.sign_in(shop.key)
    statuses = [(await visitor.go("/spend")).status_code for _ in range(300)]
    assert statuses[:240] == [200] * 240
    assert 429 in statuses


async def test_clients_of_the_api_see_no_pages(shop: Vendor) -> None:
    for path in ("/", "/admin"):
        for accept in ("*/*", "application/json"):
            answer = await shop.http.get(path, headers={"Accept": accept})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await shop.http.get("/static/other.css")
    assert answer.json()["code"] == "not_found"


async def test_the_pages_files_may_be_kept_and_are_sent_small(
    shop: Vendor, visitor: PageVisitor
) -> None:
    await visitor.sign_in(shop.key)
    address = visitor.page.text.partition('src="')[2].partition('"')[0]
    assert address.startswith("/static/Chart.bundle.js?v=")
    answer = await visitor.go(address)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 250_000 < len(answer.content)
    plain = await visitor.http.get(address, headers={"Accept-Encoding": "identity"})
    assert plain.content == answer.content
