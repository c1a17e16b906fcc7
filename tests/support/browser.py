"""Debian's Chromium, driven by Playwright, and a vendor with pages in a process of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.ledger import open_database
from teacher_server.ledger.pepper import load_pepper
from tests.support.forked_commands import forked_commands
from tools.local_vendor import local_vendor

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
TEXT = "a photo of a bird"
MODEL = "recorded/lesson"
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A running vendor, and its ledger's database."""

    url: str
    database: str

    def new_key(self, budget: int, name: str = "Lab of birds", **options: Any) -> ApiKey:
        """Create a key; `budget` is in queries."""
        key = ApiKey.new()
        with open_database(self.database) as engine:
            keys = Keys(engine, clock=unix_ms, pepper=load_pepper(engine, None))
            keys.create(key, name=name, budget=budget, price_version="2026-11", **options)
        return key

    def buy(self, key: ApiKey | str, texts: int = 1) -> httpx.Response:
        """Buy this many texts with the key."""
        token = key if isinstance(key, str) else key.token
        return httpx.post(
            f"{self.url}/v1/embeddings",
            json={"model": MODEL, "input": [TEXT] * texts},
            headers={"Authorization": f"Bearer {token}"},
        )


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Serve a recording of one text, which needs no model, by `teacher-server serve`."""
    recording = folder / "recording"
    recording.mkdir()
    np.save(recording / "vectors.npy", np.array([[0.6, 0.8]], dtype=np.float32))
    (recording / "items.txt").write_text(f"text {hashlib.sha256(TEXT.encode()).hexdigest()}\n")
    (recording / "recorded.json").write_text(json.dumps({"format": 1, "name": "lesson"}))
    database = f"sqlite:///{folder}/ledger.db"
    model = f"recorded:{recording}"
    with local_vendor(folder, database, model=model, programs=forked_commands()) as url:
        yield Site(url, database)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Chromium without a window. Fails, saying how to install it, where it is missing."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("Chromium is missing: run docker/install-test-programs, then the tests again")
    expect.set_options(timeout=30_000)  # milliseconds; other tests share the processors
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_FLAGS])
        yield browser
        browser.close()


@dataclass
class Screen:
    """A page in a browser of its own, and what went wrong or was asked for in it."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def sign_in(self, key: ApiKey, area: str = "/") -> None:
        """Sign in on this page."""
        self.page.goto(self.site.url + area)
        self.page.get_by_label("API key").fill(key.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(self.site.url + area)

    def figure(self, name: str) -> str:
        """The figure under this name."""
        terms = self.page.locator("dl div").filter(has=self.page.locator("dt", has_text=name))
        return terms.locator("dd").first.inner_text()

    def keep(self, name: str) -> None:
        """Keep a picture of the whole page in build/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@contextmanager
def screen(
    browser: Browser,
    site: Site,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[Screen]:
    """A browser window of this width, in pixels; at its end, nothing may have gone wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    one = Screen(context.new_page(), site)
    one.page.on("console", lambda message: one.complaints.append(f"{message.type}: {message.text}"))
    one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
    one.page.on("request", lambda request: one.asked.append(request.url))
    yield one
    context.close()
    assert one.complaints == []
    assert [url for url in one.asked if not url.startswith(site.url + "/")] == []
