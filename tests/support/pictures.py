"""Small images for tests, all different."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, seed: int, *, size: tuple[int, int] = (20, 16)) -> Path:
    """A noisy RGB PNG of (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_domains(root: Path, *, domains: int = 3, classes: int = 2, each: int = 5) -> Path:
    """`root/d0/c0/i0.png` and so on, the DomainBed layout."""
    seed = 0
    for d in range(domains):
        for c in range(classes):
            for i in range(each):
                write_picture(root / f"d{d}" / f"c{c}" / f"i{i}.png", seed)
                seed += 1
    return root
