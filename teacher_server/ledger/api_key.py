"""An API key: its token, and the hash under which the ledger stores it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

PEPPERED_PREFIX = "hmac-sha256:"
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_FORMAT = re.compile(r"sk_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,200})")


def is_key_id(text: str) -> bool:
    """Whether a key can have this id. PostgreSQL would fail on some text that is none."""
    return _ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner holds it, `sk_<id>_<secret>`; its repr shows only the id."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, token: str) -> ApiKey | None:
        """Parse a token; returns None if it does not have the format of a key."""
        match = _FORMAT.fullmatch(token)
        return cls(match[1], match[2]) if match else None

    @classmethod
    def new(cls, key_id: str | None = None) -> ApiKey:
        """A new key with a random secret of 256 bits, and a random id unless one is given."""
        return cls(key_id or secrets.token_hex(8), secrets.token_urlsafe(32))

    @property
    def token(self) -> str:
        """The text that its owner receives, once."""
        return f"sk_{self.id}_{self.secret}"

    def hashed(self, pepper: bytes) -> str:
        """The stored hash. A fast hash is safe here, because the secret has 256 random bits."""
        return PEPPERED_PREFIX + hmac.new(pepper, self._hashed_bytes, hashlib.sha256).hexdigest()

    @property
    def unpeppered_hash(self) -> str:
        """The hash that version 0.1 stored; it is replaced when the key is next used."""
        return "sha256:" + hashlib.sha256(self._hashed_bytes).hexdigest()

    def matches(self, stored: str, pepper: bytes) -> bool:
        """Whether the stored hash is this key's, compared in constant time."""
        # Both are always compared: with `or`, the time would reveal which kind is stored.
        return hmac.compare_digest(stored, self.hashed(pepper)) | hmac.compare_digest(
            stored, self.unpeppered_hash
        )

    @property
    def _hashed_bytes(self) -> bytes:
        return f"{self.id}\0{self.secret}".encode()
