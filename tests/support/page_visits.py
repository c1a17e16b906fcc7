"""A visitor of the vendor's pages: signs in, and sends the forms that it was shown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.ledger.api_key import ApiKey
from teacher_server.pages.app import add_pages

ORIGIN = "http://vendor"
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
_FORM_ID = re.compile(r'name="form_id" value="([^"]+)"')


class PageVisitor:
    """A browser without a screen: cookies are kept, forms are sent with what hides in the page."""

    def __init__(self, vendor: Vendor) -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=vendor.app),
            base_url=ORIGIN,
            headers={"Accept": "text/html", "Origin": ORIGIN},
        )
        self.page = httpx.Response(204)

    async def sign_in(self, key: ApiKey | str, area: str = "/") -> httpx.Response:
        """Sign in and go to the page that the vendor names then."""
        token = key if isinstance(key, str) else key.token
        answer = await self.http.post("/sign-in", data={"key": token, "area": area})
        if answer.status_code == 303:
            await self.go(answer.headers["location"])
        return answer

    async def go(self, path: str) -> httpx.Response:
        """Open a page."""
        self.page = await self.http.get(path)
        return self.page

    async def send(self, path: str, **fields: str | list[str]) -> httpx.Response:
        """Send a form of the page that is open."""
        hidden = {"csrf_token": self._hidden(_TOKEN), "form_id": self._hidden(_FORM_ID)}
        return await self.http.post(path, data=hidden | fields)

    def _hidden(self, pattern: re.Pattern[str]) -> str:
        found = pattern.search(self.page.text)
        return "" if found is None else found[1]


@asynccontextmanager
async def visited_vendor(folder: Path, *, budget: int = 100) -> AsyncIterator[Vendor]:
    """A vendor with pages whose key has this budget in queries."""
    async with vendor_at(folder, HashEncoder(), budget=budget) as vendor:
        add_pages(vendor.app)
        yield vendor
