"""The vendor's own fixtures, for those who attack it."""

from __future__ import annotations

from tests.teacher_server.conftest import checkpoint, hashing

__all__ = ["checkpoint", "hashing"]
