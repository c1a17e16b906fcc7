"""Counts what a recipe would buy, from the user's folder and the product's own split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.paper.recipe import Recipe
from cache.records.money import dollars
from student.data.folder.image_folder import Catalogue
from student.data.split import Split, split
from student.embeddings.keys import prompts_for
from student.vendor.schemas import Prices

PIXEL_BYTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The queries of a recipe, and of the published code at the same targets and seeds.

    `views` counts distinct views: an image that several targets, seeds or students train on is
    bought once. `fresh` counts a new view of each image at each step of Align and Distill, as
    published; none repeats, so each target and seed pays again. `scratch_bytes` is the maximum disk
    space of the rendered images of one target and seed.
    """

    images: int
    classes: int
    domains: int
    views: int
    prompts: int
    fresh: int
    scratch_bytes: int

    @property
    def items(self) -> int:
        """The maximum number of embeddings to buy; embeddings in the cache are not deducted."""
        return self.views + self.prompts

    def units(self, prices: Prices | None) -> int:
        """Returns the same in queries at the vendor's prices: the minimum `--budget`."""
        image, text = (1, 1) if prices is None else (prices.units.image, prices.units.text)
        return self.views * image + self.prompts * text

    def rows(self, prices: Prices | None) -> list[list[str]]:
        """Returns table rows, each a label and a figure."""

        def priced(units: int) -> str:
            return "" if prices is None else f", {dollars(prices.cost(units))}"

        fresh = self.fresh * (1 if prices is None else prices.units.image)
        rows = [
            ["images", f"{self.images:,} of {self.classes} classes in {self.domains} domains"],
            ["views to buy, at most", f"{self.views:,}"],
            ["prompts to buy, at most", f"{self.prompts:,}"],
            ["queries", f"{self.units(prices):,}{priced(self.units(prices))}"],
            ["as published, a fresh view at every step", f"{fresh:,}{priced(fresh)}"],
            ["disk for rendered images, at a time", f"{self.scratch_bytes / 1e9:.1f} GB"],
        ]
        if prices is not None:
            rows.insert(
                4,
                [
                    "price list",
                    f"{prices.version}: {prices.micro_usd_per_unit:,} micro-USD a query",
                ],
            )
        return rows


def estimate(recipe: Recipe, catalogue: Catalogue) -> Estimate:
    """Counts what the recipe's runs train on. Raises StudentError if the data cannot be split."""
    shown: set[str] = set()
    prompts: set[str] = set()
    fresh = scratch = 0
    # All methods with the same target and seed train on the same images: count each pair once.
    for run in {(run.target, run.seed): run for run in recipe.runs()}.values():
        options = run.read_options()
        run_split = split(catalogue, targets=[run.target], seed=run.seed)
        shown.update(item.digest for item in run_split.train)
        prompts.update(
            prompt
            for name in catalogue.classes
            for prompt in prompts_for(name, run_split.sources, options.purchase.prompts)
        )
        steps = options.training.align_steps + options.training.steps
        fresh += steps * options.training.batch_per_domain * len(run_split.sources)
        pixels = options.data.image_size**2 * PIXEL_BYTES
        scratch = max(scratch, pixels * _pictures(run_split, recipe.views))
    return Estimate(
        images=len(catalogue.items),
        classes=len(catalogue.classes),
        domains=len(catalogue.domains),
        views=len(shown) * recipe.views,
        prompts=len(prompts),
        fresh=fresh,
        scratch_bytes=scratch,
    )


def published_queries(*, steps: int, sources: int, batch_per_domain: int = 32) -> int:
    """Returns the queries of the published code for one student.

    It queries every image of every step of both stages.
    """
    return 2 * steps * batch_per_domain * sources


def _pictures(run_split: Split, views: int) -> int:
    measured: Iterable[int] = (
        len(part) for part in (run_split.validation, *run_split.tests.values())
    )
    return len(run_split.train) * views + sum(measured)
