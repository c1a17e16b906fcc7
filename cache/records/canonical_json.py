"""Canonical JSON and its digest: equal values always give equal bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Final

_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def canonical_json(value: object) -> bytes:
    """Encode `value` as JSON with sorted keys, no blanks and ASCII only.

    Raises ValueError for NaN and infinities, TypeError for what JSON cannot hold.
    """
    return _CANONICAL.encode(value).encode("ascii")


def json_sha256(value: object) -> str:
    """Return the SHA-256 of the canonical JSON of `value`, in lower-case hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
