"""A vendor with pages, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.support.vendor_in_process import Vendor
from tests.support.page_visits import PageVisitor, visited_vendor


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Vendor]:
    """A vendor with pages; its key has 100 queries."""
    async with visited_vendor(tmp_path) as vendor:
        yield vendor


@pytest.fixture
async def visitor(shop: Vendor) -> AsyncIterator[PageVisitor]:
    """A visitor who has not signed in."""
    one = PageVisitor(shop)
    async with one.http:
        yield one


@pytest.fixture
async def operator(shop: Vendor) -> AsyncIterator[PageVisitor]:
    """A visitor who signed in with a key for administration."""
    one = PageVisitor(shop)
    async with one.http:
        await one.sign_in(shop.another_key(budget=0, scopes=("admin",)), "/admin")
        yield one
