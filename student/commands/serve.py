"""`distill-client serve`: answers `/v1/embeddings` with a finished student."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from student.commands.student_option import add_student_option
from student.errors import BadInput
from student.options.section import user_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from student.inference.embedding_app import FindText
    from student.inference.trained_student import TrainedStudent


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's options."""
    made = argparse.ArgumentParser(
        "distill-client serve",
        description=(
            "Serve OpenAI's /v1/embeddings from a finished student: images by the student's "
            "projection, texts by what the cache holds. An application leaves the vendor by a "
            "change of its base URL. There are no keys: bind it to an address that only your "
            "applications reach."
        ),
    )
    add_student_option(made)
    made.add_argument(
        "--cache",
        type=user_path,
        metavar="FOLDER",
        help="cache with the bought texts (default: the one that the student was made from)",
    )
    made.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    made.add_argument(
        "--port", type=int, default=8001, help="TCP port; 0 takes a free one (default: 8001)"
    )
    return made


def main(arguments: list[str]) -> int:
    """Serves until it is interrupted. Raises BadInput before it listens."""
    options = parser().parse_args(arguments)
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        message = "serve needs fastapi and uvicorn: pip install 'rented-teacher[serve]'"
        raise BadInput(message)
    from student.inference.embedding_app import embedding_app
    from student.inference.trained_student import load

    trained = load(options.student)
    app = embedding_app(trained, bought_texts(trained, options.cache))
    import uvicorn

    uvicorn.run(app, host=options.host, port=options.port, log_level="info")
    return 0


def bought_texts(trained: TrainedStudent, cache: Path | None) -> FindText:
    """Looks up texts in the cache, under the model that taught the student."""
    from cache.paid_cache import PaidEmbedding
    from cache.storage.reader import CacheReader
    from student.embeddings.keys import text_key

    fingerprint = trained.meta.get("teacher", {}).get("fingerprint")
    folder = cache or trained.meta.get("settings", {}).get("cache")
    if fingerprint is None or folder is None or not (cache or Path(folder).is_dir()):
        print("no cache: only images are served, and a request with a text gets 404", flush=True)
        return lambda text: None
    CacheReader.open(folder).close()

    def find(text: str) -> NDArray[np.float32] | None:
        with CacheReader.open(folder) as reader:  # a connection belongs to one thread
            found: PaidEmbedding | None = reader.get(text_key(fingerprint, text))
        return None if found is None else found.vector

    print(f"texts are served from {folder}{_example(trained, find)}", flush=True)
    return find


def _example(trained: TrainedStudent, find: FindText) -> str:
    """A class prompt that was bought, as an example: the cache has digests of texts to look up, and
    none to list."""
    from student.embeddings.keys import prompts_for

    meta = trained.meta
    style = meta.get("settings", {}).get("prompts", "class")
    for class_name in meta.get("classes", ()):
        for prompt in prompts_for(class_name, meta.get("sources", ()), style):
            if find(prompt) is not None:
                return f", in the words that were bought, such as {prompt!r}"
    return ""
