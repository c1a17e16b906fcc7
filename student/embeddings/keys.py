"""What a job needs embeddings of: the class prompts and the views of the training images."""

from collections.abc import Sequence
from typing import Literal

from cache.records.embedding_key import EmbeddingKey, text_item
from student.data.image_folder import Item
from student.data.views import view_name

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
