"""The vendor's fixtures, for the attack tests."""

from __future__ import annotations

from tests.teacher_server.conftest import checkpoint, hashing

__all__ = ["checkpoint", "hashing"]
