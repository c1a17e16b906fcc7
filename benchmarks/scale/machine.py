"""A machine and a vendor, and what of them is used up first by a number of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.scale.fit import Line

_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One worker, and the vendor that it buys from.

    `images_per_second` is what the vendor answers, `patience_days` how long a run may take.
    """

    memory_bytes: int = 64 * 2**30
    disk_bytes: int = 4 * 10**12
    images_per_second: float = 1_000.0
    micro_usd_per_query: int = 100
    patience_days: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What so many images cost one worker.

    `cpu_seconds` by stage, on one core; `peak_bytes` of the stage that needs most, which is
    `hungriest`; `disk_bytes` by stage; `vendor_seconds` the vendor's own; `micro_usd` of one query
    for each image.
    """

    images: int
    cpu_seconds: Mapping[str, float]
    peak_bytes: float
    hungriest: str
    disk_bytes: Mapping[str, float]
    vendor_seconds: float
    micro_usd: int

    @property
    def seconds(self) -> float:
        """The whole run before training. Buying overlaps with the vendor's work, and the longer of
        the two decides; the other stages come one after the other."""
        stages = dict(self.cpu_seconds)
        return max(stages.pop("buy"), self.vendor_seconds) + sum(stages.values())

    def used(self, machine: Machine) -> dict[str, float]:
        """The share of each of the machine's limits that is used; above 1, it breaks."""
        return {
            "memory": self.peak_bytes / machine.memory_bytes,
            "disk": sum(self.disk_bytes.values()) / machine.disk_bytes,
            "time": self.seconds / (machine.patience_days * _DAY),
        }


def predict(images: int, lines: Mapping[str, Mapping[str, Line]], machine: Machine) -> Prediction:
    """What so many images cost, by the lines of each stage."""
    peaks = {stage: costs["peak_bytes"].at(images) for stage, costs in lines.items()}
    hungriest = max(peaks, key=lambda stage: peaks[stage])
    return Prediction(
        images=images,
        cpu_seconds={stage: costs["cpu_seconds"].at(images) for stage, costs in lines.items()},
        peak_bytes=peaks[hungriest],
        hungriest=hungriest,
        disk_bytes={stage: costs["disk_bytes"].at(images) for stage, costs in lines.items()},
        vendor_seconds=images / machine.images_per_second,
        micro_usd=images * machine.micro_usd_per_query,
    )
