"""The vendor's JSON: models, prices, the account and problems, checked and read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from cache.records.canonical_json import json_sha256

Modality = Literal["image", "text"]


class _Schema(BaseModel):
    """Fields that a newer vendor adds are ignored; the fields used here are checked."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Limits(_Schema):
    """The most that a single request may carry.

    An earlier vendor does not name the formats of images that it takes, nor the greatest ratio of
    an image's sides: None. With `converts_formats`, which no answer of a vendor sets, an image in
    another format is sent as a PNG instead of being left out.
    """

    max_items: int = Field(ge=1)
    max_image_bytes: int = Field(ge=1)
    max_image_pixels: int = Field(ge=1)
    max_body_bytes: int = Field(ge=1)
    converts_formats: ClassVar[bool] = False

    image_formats: tuple[str, ...] | None = None
    max_image_aspect_ratio: int | None = Field(default=None, ge=1)


_FINGERPRINT = r"^sha256:[0-9a-f]{64}$"


class Model(_Schema):
    """A model on sale; `fingerprint` identifies its embedding space, and spaces never mix.

    `configuration` and `fingerprint_v2`, which covers it, are empty at a vendor of version 0.1.
    """

    id: str = Field(min_length=1)
    fingerprint: str = Field(pattern=_FINGERPRINT)
    fingerprint_v2: str = Field(default="", pattern=rf"{_FINGERPRINT}|^$")
    weights_sha256: str
    dim: int = Field(ge=1)
    image_size: int = Field(ge=1)
    context_length: int = Field(ge=1)
    preprocess: dict[str, Any]
    configuration: dict[str, Any] = Field(default_factory=dict)
    open_clip_version: str = ""
    embedded: bool
    limits: Limits

    @property
    def fits_its_facts(self) -> bool:
        """Whether both fingerprints follow from the model's facts, as the HTTP API defines them."""
        return self.fingerprint == self.computed_fingerprint() and self.fingerprint_v2 in (
            "",
            self.computed_fingerprint_v2(),
        )

    def computed_fingerprint(self) -> str:
        """The fingerprint that follows from the model's facts."""
        return _digest({"id": self.id, "preprocess": self.preprocess, **self._common_facts()})

    def computed_fingerprint_v2(self) -> str:
        """The second fingerprint that follows from the model's facts."""
        return _digest(
            {
                "version": 2,
                "configuration": self.configuration,
                "preprocess": self.preprocess,
                "context_length": self.context_length,
                **self._common_facts(),
            }
        )

    def _common_facts(self) -> dict[str, Any]:
        return {"weights_sha256": self.weights_sha256, "dim": self.dim, "normalized": True}


def _digest(facts: dict[str, Any]) -> str:
    try:
        return f"sha256:{json_sha256(facts)}"
    except ValueError:  # a NaN or an infinity, which no fingerprint fits
        return "none"


class TokenCounts(_Schema):
    """The tokens of each text, in their order."""

    tokens: tuple[int, ...]


class ModelList(_Schema):
    data: tuple[Model, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What is bought, in everything that a vendor may bill.

    `tokens` are of texts, `pixels` of images; in a plan they are estimates.
    """

    images: int = 0
    texts: int = 0
    tokens: int = 0
    pixels: int = 0


class UnitPrices(_Schema):
    image: int = Field(ge=1)
    text: int = Field(ge=1)


class Prices(_Schema):
    """A price list: whole units (queries) for an item, whole micro-USD for a unit."""

    version: str
    currency: Literal["USD"]
    units: UnitPrices
    micro_usd_per_unit: int = Field(ge=0)

    def units_for(self, modality: Modality) -> int:
        """Units (queries) for an item of this modality."""
        return self.units.image if modality == "image" else self.units.text

    @property
    def description(self) -> str:
        """The prices in words, for a plan."""
        return f"{self.micro_usd_per_unit:,} micro-USD a query, price list {self.version}"

    def cost_of(self, bought: Amounts) -> int:
        """The price of these amounts, in micro-USD."""
        return self.cost(bought.images * self.units.image + bought.texts * self.units.text)

    def cost(self, units: int) -> int:
        """The price of this many units, in micro-USD."""
        return units * self.micro_usd_per_unit


class Account(_Schema):
    """The account of an API key at the vendor, in units. `id` is public; the secret is not here."""

    id: str = Field(min_length=1)
    name: str
    budget_units: int
    spent_units: int
    reserved_units: int
    remaining_units: int
    created_ms: int


class ItemProblem(_Schema):
    """Why one item of a batch is refused."""

    index: int = Field(ge=0)
    code: str
    detail: str = ""


class Problem(_Schema):
    """A problem document (RFC 9457). `charged_units` is None where the body does not say."""

    code: str
    detail: str = ""
    request_id: str = ""
    charged_units: int | None = None
    index: int | None = None
    needed: int | None = None
    remaining: int | None = None
    items: tuple[ItemProblem, ...] = ()
    indexes: tuple[int, ...] = ()
