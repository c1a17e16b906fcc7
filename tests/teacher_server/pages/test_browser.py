"""The pages in a real browser: figures, budgets, sessions, accessibility, no console message."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from typing import Any, Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support.browser import Screen, Site, running_chromium, running_site, screen
from tests.support.doc_blocks import ROOT

OPENED = "open => document.querySelectorAll('details').forEach(one => { one.open = open })"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as running:
        yield running


def no_fault_of_accessibility(window: Screen) -> None:
    found = Axe().run(window.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_a_key_holder_signs_in_and_reads_the_right_numbers(site: Site, browser: Browser) -> None:
    key = site.new_key(1000)
    for number in (1, 2, 3):
        assert site.buy(key, number).status_code == 200
    with screen(browser, site) as window:
        window.sign_in(key)
        assert window.figure("Left") == "994"
        assert window.figure("Spent") == "6"
        assert window.figure("Cost today") == "$0.0006"
        rows = window.page.get_by_label("The newest entries").locator("tbody tr")
        assert [row.locator("td").nth(3).inner_text().split()[0] for row in rows.all()] == [
            *("3", "2", "1", "1,000"),
        ]
        expect(window.page.get_by_text("Chain verified")).to_be_visible()
        drawn = "id => Chart.getChart(document.querySelector(`[data-table=${id}]`)).data"
        for chart in ("hours", "days"):
            data = window.page.evaluate(drawn, chart)
            assert sum(data["datasets"][0]["data"]) == 6


def test_an_open_page_follows_the_spend(site: Site, browser: Browser) -> None:
    key = site.new_key(1000)
    with screen(browser, site) as window:
        window.page.clock.install()
        window.sign_in(key)
        assert window.figure("Left") == "1,000"
        site.buy(key, 7)
        window.page.clock.run_for(5000)
        expect(window.page.get_by_text("7 queries spent, 993 left.")).to_be_attached()
        assert window.figure("Left") == "993"


def test_a_key_that_gets_402_buys_again_after_the_operator_changed_its_budget(
    site: Site, browser: Browser
) -> None:
    key, operator = site.new_key(2), site.new_key(0, "ops", scopes=("admin",))
    assert site.buy(key, 2).status_code == 200
    assert site.buy(key).status_code == 402
    with screen(browser, site) as holder, screen(browser, site) as office:
        holder.sign_in(key)
        expect(holder.page.get_by_role("alert")).to_contain_text("every purchase gets 402")
        office.sign_in(operator, "/admin")
        office.page.locator(f'a[href$="{key.id}"]').click()
        office.page.get_by_label("Queries to add").fill("500")
        office.page.get_by_role("button", name="Top up").click()
        expect(office.page.get_by_role("status")).to_contain_text("were added to the budget")
        assert (office.figure("Left"), office.figure("Budget")) == ("500", "502")
        assert site.buy(key).status_code == 200
        holder.page.reload()
        assert holder.figure("Left") == "499"
        assert holder.page.get_by_role("alert").count() == 0


def test_a_key_is_created_limited_refunded_and_revoked_and_its_session_ends(
    site: Site, browser: Browser
) -> None:
    operator = site.new_key(0, "ops", scopes=("admin",))
    with screen(browser, site) as office, screen(browser, site) as holder:
        office.sign_in(operator, "/admin")
        office.page.get_by_text("Create a key").click()
        office.page.get_by_label("Name of its owner").fill("Class of 2026")
        office.page.get_by_label("Budget, in queries").fill("1,000")
        office.page.get_by_label("Renewed").select_option("month")
        office.page.get_by_role("button", name="Create the key").click()
        token = office.page.locator("#token").inner_text()
        no_fault_of_accessibility(office)
        assert site.buy(token, 3).status_code == 200
        office.page.get_by_role("link", name="Its budget and limits").click()
        office.page.get_by_label("Requests per minute").fill("30")
        office.page.get_by_role("button", name="Change the limits").click()
        expect(office.page.get_by_role("status")).to_contain_text("The limits were changed")
        assert office.page.get_by_label("Requests per minute").input_value() == "30"
        page_of_key = office.page.url.partition("?")[0]
        office.page.get_by_role("link", name=re.compile("^Refund")).click()
        office.page.get_by_label("Queries to give back").fill("1")
        office.page.get_by_label("Reason").fill("sold twice")
        office.page.get_by_role("button", name="Refund").click()
        expect(office.page.get_by_role("status")).to_contain_text("1 query and")
        holder.page.clock.install()
        holder.page.goto(site.url)
        holder.page.get_by_label("API key").fill(token)
        holder.page.keyboard.press("Enter")
        expect(holder.page.get_by_role("heading", name="Class of 2026")).to_be_visible()
        assert holder.figure("Left") == "998"
        office.page.goto(page_of_key)
        office.page.get_by_label("The key can never be used again").check()
        office.page.get_by_role("button", name="Revoke the key").click()
        expect(office.page.get_by_role("status")).to_contain_text("The key is revoked")
        assert site.buy(token).status_code == 401
        holder.page.clock.run_for(5000)
        expect(holder.page.get_by_role("alert")).to_contain_text("your session has ended")


def test_a_wrong_key_is_refused_and_signing_out_ends_the_session(
    site: Site, browser: Browser
) -> None:
    key = site.new_key(10)
    with screen(browser, site) as window:
        window.page.goto(site.url)
        window.page.get_by_label("API key").fill("sk_nobody_0123456789abcdef")
        window.page.get_by_role("button", name="Sign in").click()
        expect(window.page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
        assert [text for text in window.complaints if "401" not in text] == []
        window.complaints.clear()
        window.sign_in(key)
        (cookie,) = window.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert window.page.evaluate("document.cookie") == ""
        window.page.get_by_role("button", name="Sign out").click()
        expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert window.page.context.cookies() == []


PAGES = {
    "overview": "/",
    "admin": "/admin",
    "key": "/admin/pages/keys/{key_id}",
    "ledger": "/ledger",
    "audit": "/admin/pages/verify",
}


@pytest.mark.parametrize(
    ("name", "width", "scheme", "pages"),
    [
        ("desktop", 1280, "light", [*PAGES]),
        ("phone", 390, "light", [*PAGES]),
        # Only the colours differ from those of the first; these pages have all of them.
        ("dark", 1280, "dark", ["overview", "admin", "key"]),
    ],
)
def test_every_page_is_accessible_and_fits(
    site: Site,
    browser: Browser,
    name: str,
    width: int,
    scheme: Literal["light", "dark"],
    pages: list[str],
) -> None:
    key = site.new_key(50_000, scopes=("embed", "read", "admin"))
    for number in (1, 40, 12, 64, 3, 80, 25):
        assert site.buy(key, number).status_code == 200
    with screen(browser, site, width=width, scheme=scheme) as window:
        window.page.goto(site.url)
        no_fault_of_accessibility(window)
        window.keep(f"sign-in-{name}")
        window.sign_in(key)
        for page in pages:
            window.page.goto(site.url + PAGES[page].format(key_id=key.id))
            window.page.evaluate(OPENED, True)
            no_fault_of_accessibility(window)
            assert window.page.evaluate("document.documentElement.scrollWidth") <= width
            window.page.evaluate(OPENED, False)
            window.keep(f"{page}-{name}")


def test_the_snippets_on_the_page_buy_and_repeat_the_same_purchase(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = site.new_key(100)
    with screen(browser, site) as window:
        window.sign_in(key)
        snippets = {
            str(one.get_attribute("data-snippet")): one.inner_text()
            for one in window.page.locator("[data-snippet]").all()
        }
    monkeypatch.setenv("TEACHER_API_KEY", key.token)
    for _ in range(2):
        assert bought_by_curl(snippets["curl.txt"], key.token).json()["usage"]["billed_units"] == 1
        assert "'units': 1," in printed_by(snippets["python.txt"])
        assert printed_by(snippets["openai.txt"]) == "2 numbers\n"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    client = snippets["distill-client.txt"]
    assert f"export TEACHER_URL={site.url}\n" in client
    for line in client.splitlines()[2:]:
        assert line.split("   #")[0].strip() in readme
    standing = httpx.get(
        f"{site.url}/v1/key", headers={"Authorization": f"Bearer {key.token}"}
    ).json()
    assert standing["spent_units"] == 3


def printed_by(program: str) -> str:
    """What a Python program prints."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(StringIO()) as printed:
        exec(program, names)
    if "client" in names:
        names["client"].close()
    return printed.getvalue()


def bought_by_curl(command: str, token: str) -> httpx.Response:
    """What a shell would make of the command, sent by httpx: curl may not be installed."""
    line = command.partition("\n")[2].replace("$TEACHER_API_KEY", token)
    words = iter(shlex.split(line.replace("\\\n", " ")))
    headers, data, url = {}, "", ""
    for word in words:
        if word == "--header":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "--data":
            data = next(words)
        elif word.startswith("http"):
            url = word
        else:
            assert word in ("curl", "--silent", "--show-error")
    assert json.loads(data)
    return httpx.post(url, headers=headers, content=data).raise_for_status()
