"""A purchase over the openai wire from a vendor in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from student.purchase import doubt
from tests.support.foreign_vendor import OPENAI, ForeignVendor
from tests.support.wire_setup import WireSetup


@pytest.fixture
def vendor() -> ForeignVendor:
    return ForeignVendor(OPENAI)


@pytest.fixture
def setup(tmp_path: Path, vendor: ForeignVendor, monkeypatch: pytest.MonkeyPatch) -> WireSetup:
    monkeypatch.setattr(doubt, "PAUSE_SECONDS", 0.0)
    return WireSetup(tmp_path / "cache", vendor)
