"""The dashboard of the containers shows metrics that the vendor has."""

from __future__ import annotations

import json
import re
from pathlib import Path

from teacher_server.operations.metrics import Metrics

DASHBOARD = Path(__file__).parents[2] / "docker" / "observability" / "vendor-dashboard.json"


def test_every_metric_of_the_dashboard_is_one_of_the_vendors() -> None:
    metrics = Metrics()
    metrics.answered(method="GET", route="/livez", status=200, code="ok", seconds=0.1)
    metrics.billed(images=1, texts=1)
    metrics.batch("image", 1, 0.1)
    page = metrics.page(depth=0, seconds_since_heartbeat=0.0).decode()
    known = set(re.findall(r"^(teacher_\w+)", page, flags=re.MULTILINE))
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    shown = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"teacher_\w+", target["expr"])
    }
    assert len(shown) >= len(panels)
    assert shown <= known
