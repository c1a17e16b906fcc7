"""All replicas are replaced under load, and no request fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.ray_serve.update import ENVIRONMENT, is_right, measure
from benchmarks.ray_serve.vendor_process import ray_vendor

pytestmark = pytest.mark.timeout(900)


async def test_no_request_fails_while_all_replicas_are_replaced(tmp_path: Path) -> None:
    with ray_vendor(tmp_path, ENVIRONMENT) as vendor:
        found = await measure(vendor, clients=4, updates=1)
    assert is_right(found), found
    assert found["requests_during_updates"] > 0
