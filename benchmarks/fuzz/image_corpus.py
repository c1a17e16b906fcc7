"""Hostile and odd image files, each with what must become of it, made from nothing.

`python -m benchmarks.fuzz.image_corpus --out docs/results/image-corpus.json` sends them all to a
vendor in this process and writes what happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.fuzz import image_honest, image_hostile
from benchmarks.fuzz.image_files import LIMITS, Sample, saved
from benchmarks.support.vendor_in_process import HashEncoder, Vendor, data_uri, vendor_at
from teacher_server.inference.decode_image import FORMATS
from tools.provenance import commit

GROUPS: Mapping[str, Callable[[], Iterator[Sample]]] = {
    "sizes": image_honest.sizes,
    "modes": image_honest.modes,
    "orientations": image_honest.orientations,
    "animated": image_honest.animated,
    "profiles": image_honest.profiles,
    "names": image_honest.names,
    "truncated": image_hostile.truncated,
    "polyglots": image_hostile.polyglots,
    "foreign": image_hostile.foreign,
    "bombs": image_hostile.bombs,
    "parts": image_hostile.parts,
    "bytes": image_hostile.raw_bytes,
    "base64": image_hostile.encodings,
    "damaged": image_hostile.damaged,
}


@asynccontextmanager
async def vendor_of_images(folder: Path, encoder: HashEncoder) -> AsyncIterator[Vendor]:
    """A vendor with the corpus's limits."""
    async with vendor_at(
        folder,
        encoder,
        budget=10_000,
        max_image_bytes=LIMITS.max_bytes,
        max_image_pixels=LIMITS.max_pixels,
    ) as vendor:
        yield vendor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the vendor did with one sample, and whether the next request found it as before."""

    sample: Sample
    status: int
    code: str | None
    vector: tuple[float, ...] | None
    charged: int

    @property
    def is_right(self) -> bool:
        """Embedded as the reference is, or refused with the code that was foreseen, for nothing."""
        if self.status == 200:
            return self.sample.code is None and self.charged == 1
        is_foreseen = self.sample.is_open or self.code == self.sample.code
        return is_foreseen and self.charged == 0 and 400 <= self.status < 500


async def send(vendor: Vendor, sample: Sample) -> Outcome:
    """Send one sample in the way that it is meant for."""
    before = vendor.account.spent_units
    if isinstance(sample.content, str):
        response = await vendor.embed([{"image": sample.content}])
    else:
        response = await vendor.http.post(
            "/v1/embeddings",
            data={"model": vendor.model},
            files=[("image", (sample.filename, sample.content, "image/png"))],
        )
    body = response.json()
    is_sold = response.status_code == 200
    return Outcome(
        sample,
        response.status_code,
        None if is_sold else body["code"],
        tuple(body["data"][0]["embedding"]) if is_sold else None,
        vendor.account.spent_units - before,
    )


async def reference(vendor: Vendor, image: Image.Image) -> tuple[float, ...]:
    """The vector of an image that is given as plainly as can be."""
    response = await vendor.embed([{"image": data_uri(saved(image))}])
    return tuple(response.json()["data"][0]["embedding"])


async def _document(folder: Path) -> dict[str, object]:
    async with vendor_of_images(folder, HashEncoder()) as vendor:
        given = [sample for made in GROUPS.values() for sample in made()]
        outcomes = [await send(vendor, sample) for sample in given]
        refused = Counter(outcome.code for outcome in outcomes if outcome.code is not None)
        return {
            "formats_read": list(FORMATS),
            "inputs": len(outcomes),
            "embedded": sum(outcome.status == 200 for outcome in outcomes),
            "refused": dict(sorted(refused.items())),
            "server_errors": sum(outcome.status >= 500 for outcome in outcomes),
            "charged_when_refused": sum(o.charged for o in outcomes if o.status != 200),
            "not_as_foreseen": [o.sample.name for o in outcomes if not o.is_right],
            "groups": dict(sorted(Counter(sample.group for sample in given).items())),
            "faults_in_the_books": list(vendor.audit.faults),
        }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Send every hostile image and write the outcome.")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_document(Path(folder)))
    command = f"python -m benchmarks.fuzz.image_corpus --out {arguments.out}"
    # The files are made by rules and by seeds of their own: one corpus, always the same.
    document = {"command": command, "commit": commit(), "seed": 0} | found
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(f"{document['inputs']} inputs, {document['not_as_foreseen']} unforeseen\n")
    return 1 if document["not_as_foreseen"] or document["server_errors"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
