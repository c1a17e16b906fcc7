"""Send hostile and unusual image files to a vendor, each with its expected outcome.

    python -m benchmarks.fuzz.image_corpus --out docs/results/image-corpus.json

The files are generated. The vendor runs in this process.
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

from benchmarks.fuzz import image_hostile, image_unusual
from benchmarks.fuzz.image_files import LIMITS, Sample, saved
from benchmarks.support.vendor_in_process import HashEncoder, Vendor, data_uri, vendor_at
from teacher_server.inference.decode_image import FORMATS
from tools.provenance import commit

GROUPS: Mapping[str, Callable[[], Iterator[Sample]]] = {
    "sizes": image_unusual.sizes,
    "modes": image_unusual.modes,
    "orientations": image_unusual.orientations,
    "animated": image_unusual.animated,
    "profiles": image_unusual.profiles,
    "names": image_unusual.names,
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
    """Run a vendor with the image limits that the corpus expects."""
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
    """What the vendor answered for one sample, and the queries it charged."""

    sample: Sample
    status: int
    code: str | None
    vector: tuple[float, ...] | None
    charged: int

    @property
    def is_right(self) -> bool:
        """Embedded and charged once, or refused with the expected code and not charged."""
        if self.status == 200:
            return self.sample.code is None and self.charged == 1
        is_expected = self.sample.is_open or self.code == self.sample.code
        return is_expected and self.charged == 0 and 400 <= self.status < 500


async def send(vendor: Vendor, sample: Sample) -> Outcome:
    """Send one sample: text in JSON, bytes as a multipart upload."""
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
    """Return the vector of an image that is sent as an ordinary PNG."""
    response = await vendor.embed([{"image": data_uri(saved(image))}])
    return tuple(response.json()["data"][0]["embedding"])


async def _document(folder: Path) -> dict[str, object]:
    async with vendor_of_images(folder, HashEncoder()) as vendor:
        samples = [sample for generate in GROUPS.values() for sample in generate()]
        outcomes = [await send(vendor, sample) for sample in samples]
        refused = Counter(outcome.code for outcome in outcomes if outcome.code is not None)
        return {
            "formats_read": list(FORMATS),
            "inputs": len(outcomes),
            "embedded": sum(outcome.status == 200 for outcome in outcomes),
            "refused": dict(sorted(refused.items())),
            "server_errors": sum(outcome.status >= 500 for outcome in outcomes),
            "charged_when_refused": sum(o.charged for o in outcomes if o.status != 200),
            "not_as_foreseen": [o.sample.name for o in outcomes if not o.is_right],
            "groups": dict(sorted(Counter(sample.group for sample in samples).items())),
            "faults_in_the_books": list(vendor.audit.faults),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Send the corpus and write the outcomes; return 1 if any was unexpected."""
    parser = argparse.ArgumentParser(
        description="Send every image of the corpus and write the outcomes."
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write the result to")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_document(Path(folder)))
    command = f"python -m benchmarks.fuzz.image_corpus --out {arguments.out}"
    # The corpus has fixed seeds: it is always the same.
    document = {"command": command, "commit": commit(), "seed": 0} | found
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2) + "\n")
    sys.stdout.write(
        f"{document['inputs']} inputs, {document['not_as_foreseen']} unexpected outcomes\n"
    )
    return 1 if document["not_as_foreseen"] or document["server_errors"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
