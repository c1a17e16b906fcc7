"""Write the folder and the recording of the retrieval evidence with a real CLIP.

    python -m tools.flickr8k.lay_out --real-clip FOLDER
    teacher-server serve --model recorded:work/flickr8k-clip
    distill-client --unlabelled --data data/flickr8k --target-domain held-out …

FOLDER has `answers.npz`, the embeddings by CLIP ViT-B/32 of 1,415 photographs of Flickr8k and of
500 captions of 100 of them, and `flickr8k`, the photographs. The domain `held-out` has those with
captions and 65 more, the domain `photographs` the other 1,250.
"""

import argparse
import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from student.data.folder.captions import CAPTIONS_FILE
from tools.recording import Answer, write_recording

_HELD_OUT = 165  # photographs, of which 100 have captions


def lay_out(source: Path, out: Path) -> int:
    """Write the photographs, as hard links, and the table of captions; return the photographs."""
    stored = np.load(source / "answers.npz")
    captioned = set(map(str, stored["flickr_caption_image"]))
    # The digest of a name stands for chance: the same photographs on every machine.
    in_order = sorted(
        (source / "flickr8k").glob("*.jpg"),
        key=lambda path: (path.name not in captioned, hashlib.sha256(path.name.encode()).digest()),
    )
    for number, path in enumerate(in_order):
        target = out / ("held-out" if number < _HELD_OUT else "photographs") / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(path, target)
    with (out / CAPTIONS_FILE).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "caption"))
        rows.writerows(zip(stored["flickr_caption_image"], stored["flickr_caption"], strict=True))
    return len(in_order)


def answers(source: Path) -> Iterator[Answer]:
    """The embedding of each photograph and of each caption."""
    stored = np.load(source / "answers.npz")
    for name, embedding in zip(stored["flickr_names"], stored["flickr_emb"], strict=True):
        yield "image", (source / "flickr8k" / str(name)).read_bytes(), embedding
    for caption, embedding in zip(
        stored["flickr_caption"], stored["flickr_caption_emb"], strict=True
    ):
        yield "text", str(caption).strip().encode(), embedding


def main() -> None:
    """Write the data set and the recording."""
    parser = argparse.ArgumentParser(description="Lay out Flickr8k with a real CLIP's answers.")
    parser.add_argument("--real-clip", type=Path, required=True, help="answers.npz and flickr8k/")
    parser.add_argument("--out", type=Path, default=Path("data/flickr8k"), help="folder to write")
    parser.add_argument("--recording", type=Path, default=Path("work/flickr8k-clip"))
    options = parser.parse_args()
    photographs = lay_out(options.real_clip, options.out)
    recorded = write_recording(
        options.recording,
        name="clip-vit-b-32-flickr8k",
        source="answers.npz",
        answers=answers(options.real_clip),
    )
    print(f"{photographs} photographs in {options.out}, {recorded} answers in {options.recording}")


if __name__ == "__main__":
    main()
