"""The profile `scale`: a second vendor that differs from the first in nothing that decides a sale,
and a proxy that knows both. `docker/compose-tests/scale` starts it for real."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of the profile as Compose reads them."""
    compose = Path(sys.executable).parent / "docker-compose"
    command = [str(compose), "--env-file", "/dev/null", "--profile", "scale", "config"]
    done = subprocess.run(
        [*command, "--format", "json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_the_profile_starts_two_vendors_a_database_and_a_proxy(services: dict[str, Any]) -> None:
    assert set(services) == {"teacher", "replica", "postgres", "proxy"}


def test_both_vendors_sell_the_same_from_the_same_ledger(services: dict[str, Any]) -> None:
    first, second = services["teacher"], services["replica"]
    for part in ("environment", "image", "volumes", "read_only", "cap_drop", "stop_grace_period"):
        assert second[part] == first[part], part


def test_only_the_first_vendor_and_the_proxy_are_published(services: dict[str, Any]) -> None:
    published = {name: [p["host_ip"] for p in s.get("ports", [])] for name, s in services.items()}
    local = ["127.0.0.1"]
    assert published == {"teacher": local, "proxy": local, "replica": [], "postgres": []}


def test_the_second_vendor_waits_for_the_first_so_that_one_of_them_makes_the_first_key(
    services: dict[str, Any],
) -> None:
    waits = {name: one["condition"] for name, one in services["replica"]["depends_on"].items()}
    assert waits == {"teacher": "service_healthy", "postgres": "service_healthy"}


def test_the_proxy_sends_to_every_vendor_that_is_ready(services: dict[str, Any]) -> None:
    text = (ROOT / "docker" / "scale" / "Caddyfile").read_text("utf-8")
    (upstreams,) = re.findall(r"reverse_proxy (.+) \{", text)
    vendors = {n for n, s in services.items() if s["image"] == services["teacher"]["image"]}
    assert {name.partition(":")[0] for name in upstreams.split()} == vendors
    assert "health_uri /readyz" in text
    (port,) = services["proxy"]["ports"]
    assert f":{port['target']} {{" in text
    (mount,) = services["proxy"]["volumes"]
    assert Path(mount["source"]) == ROOT / "docker" / "scale" / "Caddyfile"
