"""Write the folder and the recording of the evidence with a real CLIP.

    python -m tools.cifar.lay_out --real-clip FOLDER --out data/cifar --recording work/cifar-clip
    teacher-server serve --model recorded:work/cifar-clip

FOLDER has `answers.npz`, the embeddings by CLIP ViT-B/32 of 500 test images of CIFAR-10 and of
texts "a {name}", and `cifar/bought` and `cifar/other`, the images. The 500 are the only labelled
domain. The others are written as they are and in six shifts, each a domain of its own. The classes
automobile and ship have no recorded text of that name: they are called car and boat. The client
asks for "a photo of a {class}"; what is sold for it is the recorded embedding of "a {class}".
"""

import argparse
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from tools.recording import Answer, write_recording

NAMES = MappingProxyType({"automobile": "car", "ship": "boat"})
PROMPT = "a photo of a {}"
_SIZE = 32  # pixels
_NOISE = 0.18  # ImageNet-C's Gaussian noise of severity 3, on a scale of 0 to 1
_JPEG = 15  # ImageNet-C's JPEG quality of severity 3
_BLUR = 1.0  # pixels; CIFAR-10-C's Gaussian blur of severity 5, since ImageNet-C's are for 224


def _noise(image: Image.Image) -> Image.Image:
    digest = hashlib.sha256(image.tobytes()).digest()
    draws = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    scaled = np.asarray(image) / 255 + draws.normal(0, _NOISE, (_SIZE, _SIZE, 3))
    return Image.fromarray((scaled.clip(0, 1) * 255).round().astype(np.uint8))


def _jpeg(image: Image.Image) -> Image.Image:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=_JPEG)
    return Image.open(written).convert("RGB")


def _line_drawing(image: Image.Image) -> Image.Image:
    """Sobel's gradient of the grey image, dark on white: not how a student's drawings are made."""
    grey = np.pad(np.asarray(image.convert("L"), dtype=np.float64), 1, mode="edge")
    across = grey[:, 2:] - grey[:, :-2]
    down = grey[2:] - grey[:-2]
    x = across[:-2] + 2 * across[1:-1] + across[2:]
    y = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    ink = np.hypot(x, y)
    drawn = 255 - 255 * (ink / max(ink.max(), 1.0))
    return Image.fromarray(drawn.round().astype(np.uint8)).convert("RGB")


SHIFTS: Mapping[str, Callable[[Image.Image], Image.Image]] = MappingProxyType(
    {
        "grey": lambda image: image.convert("L").convert("RGB"),
        "inverted": ImageOps.invert,
        "noise": _noise,
        "blur": lambda image: image.filter(ImageFilter.GaussianBlur(_BLUR)),
        "jpeg": _jpeg,
        "line-drawing": _line_drawing,
    }
)


def lay_out(source: Path, out: Path) -> int:
    """Write the labelled images, the others and their shifts as PNG; return their number."""
    written = 0
    for path in sorted(source.glob("*/*/*")):
        domain, class_name = path.parts[-3], path.parts[-2]
        image = Image.open(path).convert("RGB")
        copies = {"labelled": None} if domain == "bought" else {"other": None, **SHIFTS}
        for name, shift in copies.items():
            target = out / name / NAMES.get(class_name, class_name) / f"{path.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            (shift(image) if shift else image).save(target)
            written += 1
    return written


def record(answers: Path, images: Path, folder: Path) -> int:
    """Write the answers for the labelled images and their classes as a recording that a vendor
    sells; return their number."""
    return write_recording(
        folder,
        name="clip-vit-b-32-cifar",
        source=answers.name,
        answers=_answers(answers, images),
    )


def _answers(answers: Path, images: Path) -> Iterator[Answer]:
    stored = np.load(answers)
    names = [str(name).split(":")[-1] for name in stored["detic_names"]]
    for path in sorted(images.glob("*/*.png")):
        yield "image", path.read_bytes(), stored["cifar_test_first500_emb"][int(path.stem)]
    for class_name in sorted(path.name for path in images.iterdir()):
        text = PROMPT.format(class_name)
        yield "text", text.encode(), stored["detic_text"][names.index(class_name)]


def main() -> None:
    """Write the data set and the recording."""
    parser = argparse.ArgumentParser(description="Lay out CIFAR-10 with a real CLIP's answers.")
    parser.add_argument("--real-clip", type=Path, required=True, help="answers.npz and cifar/")
    parser.add_argument("--out", type=Path, default=Path("data/cifar"), help="folder to write")
    parser.add_argument("--recording", type=Path, default=Path("work/cifar-clip"))
    options = parser.parse_args()
    images = lay_out(options.real_clip / "cifar", options.out)
    recorded = record(
        options.real_clip / "answers.npz", options.out / "labelled", options.recording
    )
    print(f"{images} images in {options.out}, {recorded} answers in {options.recording}")


if __name__ == "__main__":
    main()
