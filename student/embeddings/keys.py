"""What a job needs embeddings of: the class prompts and the views of the training images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache.embedding_table import EmbeddingTable
from cache.records.embedding_key import EmbeddingKey, text_item
from student.data.image_folder import Item
from student.data.views import png, view_name
from student.purchase.plan import EmbeddingRequest

PromptStyle = Literal["class", "domain"]


def prompts_for(class_name: str, domains: Sequence[str], style: PromptStyle) -> list[str]:
    """The prompts whose mean embedding stands for a class (paper, table E1 or E2).

    "class" asks one, `a photo of a {class}`; "domain" asks `A {domain} of a {class}` for each
    source domain. Underscores are read as spaces.
    """
    named = class_name.replace("_", " ")
    if style == "class":
        return [f"a photo of a {named}"]
    return [f"A {domain.replace('_', ' ')} of a {named}" for domain in domains]


def text_key(fingerprint: str, text: str) -> EmbeddingKey:
    """The identity of a prompt's embedding."""
    return EmbeddingKey(model_fingerprint=fingerprint, modality="text", item=text_item(text))


def view_keys(fingerprint: str, item: Item, *, views: int, size: int) -> list[EmbeddingKey]:
    """The identities of an image's first `views` views."""
    return [
        EmbeddingKey(
            model_fingerprint=fingerprint,
            modality="image",
            item=item.digest,
            view=view_name(k, size),
        )
        for k in range(views)
    ]


def text_requests(fingerprint: str, prompts: Sequence[str]) -> list[EmbeddingRequest]:
    """The prompts, to be bought first."""
    return [
        EmbeddingRequest(key=text_key(fingerprint, text), payload=text, name=f'prompt "{text}"')
        for text in prompts
    ]


def image_requests(
    fingerprint: str, items: Sequence[Item], pixels: NDArray[np.uint8], order: Sequence[int]
) -> list[EmbeddingRequest]:
    """Every view of the items that `order` names by row, in that order.

    `pixels` (N, K, S, S, 3) is row for row with `items`; view 0 is sent as the file stands, the
    others as the very pixels that the student trains on.
    """
    views, size = pixels.shape[1:3]
    wanted: list[EmbeddingRequest] = []
    for row in order:
        item = items[row]
        for k, key in enumerate(view_keys(fingerprint, item, views=views, size=size)):
            payload = _file(item.path) if k == 0 else _rendered(pixels, row, k)
            wanted.append(EmbeddingRequest(key=key, payload=payload, name=f"{item.path} view {k}"))
    return wanted


def class_embeddings(
    table: EmbeddingTable,
    rows: dict[EmbeddingKey, int],
    fingerprint: str,
    prompts_of_class: Sequence[Sequence[str]],
) -> NDArray[np.float32]:
    """The text classifier: per class the mean of its prompts' unit vectors, made unit, (C, D)."""
    return class_means(lambda key: table.vectors[rows[key]], fingerprint, prompts_of_class)


def class_means(
    vector_of: Callable[[EmbeddingKey], NDArray[np.float32]],
    fingerprint: str,
    prompts_of_class: Sequence[Sequence[str]],
) -> NDArray[np.float32]:
    """The same from wherever the prompts' embeddings are kept."""
    means = np.stack(
        [
            np.mean([vector_of(text_key(fingerprint, text)) for text in prompts], axis=0)
            for prompts in prompts_of_class
        ]
    )
    unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit.astype(np.float32)


def image_embeddings(
    table: EmbeddingTable,
    rows: dict[EmbeddingKey, int],
    keys_of_image: Sequence[Sequence[EmbeddingKey]],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The bought embeddings (N, K, D), and which are bought (N, K); the others are zero."""
    shape = (len(keys_of_image), len(keys_of_image[0]) if keys_of_image else 1)
    vectors = np.zeros((*shape, table.dim), dtype=np.float32)
    bought = np.zeros(shape, dtype=bool)
    for n, keys in enumerate(keys_of_image):
        for k, key in enumerate(keys):
            if (row := rows.get(key)) is not None:
                vectors[n, k] = table.vectors[row]
                bought[n, k] = True
    return vectors, bought


def _file(path: Path) -> Callable[[], bytes]:
    return path.read_bytes


def _rendered(pixels: NDArray[np.uint8], row: int, k: int) -> Callable[[], bytes]:
    return lambda: png(pixels[row, k])
