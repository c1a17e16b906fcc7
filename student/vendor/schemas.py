"""What the vendor says about itself: models, prices, the account, refusals. Parsed, then frozen."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Modality = Literal["image", "text"]


class _Wire(BaseModel):
    """Fields that a newer vendor adds are ignored; the ones used here are checked."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Limits(_Wire):
    """The most that one request may carry."""

    max_items: int = Field(ge=1)
    max_image_bytes: int = Field(ge=1)
    max_image_pixels: int = Field(ge=1)
    max_body_bytes: int = Field(ge=1)


class Model(_Wire):
    """A model on sale. `fingerprint` names the embedding space: what differs must not be mixed."""

    id: str = Field(min_length=1)
    fingerprint: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    weights_sha256: str
    dim: int = Field(ge=1)
    image_size: int = Field(ge=1)
    context_length: int = Field(ge=1)
    preprocess: dict[str, Any]
    open_clip_version: str = ""
    embedded: bool
    limits: Limits

    def computed_fingerprint(self) -> str:
        """The fingerprint that the published facts of the model give, by the wire contract."""
        facts = {
            "id": self.id,
            "weights_sha256": self.weights_sha256,
            "preprocess": self.preprocess,
            "dim": self.dim,
            "normalized": True,
        }
        canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


class ModelList(_Wire):
    data: tuple[Model, ...]


class UnitPrices(_Wire):
    image: int = Field(ge=1)
    text: int = Field(ge=1)


class Prices(_Wire):
    """A price list: whole units for an item, whole micro-dollars for a unit."""

    version: str
    currency: Literal["USD"]
    units: UnitPrices
    micro_usd_per_unit: int = Field(ge=0)

    def units_for(self, modality: Modality) -> int:
        """Units (queries) that one item of this modality costs."""
        return self.units.image if modality == "image" else self.units.text

    def cost(self, units: int) -> int:
        """Micro-USD for so many units."""
        return units * self.micro_usd_per_unit


class Account(_Wire):
    """The API key's purse at the vendor, in units; `id` is public, the secret is not in here."""

    id: str = Field(min_length=1)
    name: str
    budget_units: int
    spent_units: int
    reserved_units: int
    remaining_units: int
    created_ms: int


class Problem(_Wire):
    """A refusal (RFC 9457). `charged_units` is None where the body does not say."""

    code: str
    detail: str = ""
    request_id: str = ""
    charged_units: int | None = None
    index: int | None = None
    needed: int | None = None
    remaining: int | None = None
