"""Which embeddings a split needs: its class prompts, and the views of its images.

No other module decides this. The purchase, its cost, the bench and training all ask here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from cache.records.embedding_key import EmbeddingKey, text_item
from student.data.folder.image_file import ImageFile
from student.data.folder.image_folder import Catalogue, Item
from student.data.split import Split
from student.data.views import view_name
from student.options import DataOptions

PromptStyle = Literal["class", "domain"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitKeys:
    """The embeddings that a student of one split is made from, by one model of the vendor.

    Every class is described by prompts that may name the `sources` (the domains trained on), and
    every image is read in its first `views` views, rendered at `image_size` pixels.
    """

    fingerprint: str
    classes: tuple[str, ...]
    sources: tuple[str, ...]
    prompts: PromptStyle
    views: int
    image_size: int

    @property
    def prompts_of_class(self) -> list[list[str]]:
        """The prompts of each class, in the order of the classes."""
        return [prompts_for(name, self.sources, self.prompts) for name in self.classes]

    @property
    def distinct_prompts(self) -> list[str]:
        """Every prompt once, in the order of the classes."""
        return _distinct(prompt for prompts in self.prompts_of_class for prompt in prompts)

    def text_keys(self) -> list[EmbeddingKey]:
        """The key of each distinct prompt."""
        return [text_key(self.fingerprint, prompt) for prompt in self.distinct_prompts]

    def view_keys(self, item: Item) -> list[EmbeddingKey]:
        """The keys of an image's views, the original first."""
        return view_keys(self.fingerprint, item, views=self.views, size=self.image_size)

    def image_keys(self, items: Iterable[Item]) -> list[EmbeddingKey]:
        """The views of these images, each key once: two copies of a picture share theirs."""
        return _distinct(key for item in items for key in self.view_keys(item))

    def keys(self, items: Iterable[Item]) -> list[EmbeddingKey]:
        """All that a student needs which is trained on these images: texts, then images."""
        return [*self.text_keys(), *self.image_keys(items)]


def measuring_keys(fingerprint: str, items: Iterable[Item]) -> list[EmbeddingKey]:
    """What measures a student without labels on these images: their captions, then the images."""
    listed = list(items)
    texts = [text_key(fingerprint, caption) for item in listed for caption in item.captions]
    return _distinct([*texts, *(original_key(fingerprint, item) for item in listed)])


def split_keys(
    split: Split, catalogue: Catalogue, data: DataOptions, prompts: PromptStyle, fingerprint: str
) -> SplitKeys:
    """The keys of a split under these options, for the model with this fingerprint."""
    return SplitKeys(
        fingerprint=fingerprint,
        classes=catalogue.classes,
        sources=split.sources,
        prompts=prompts,
        views=data.views,
        image_size=data.image_size,
    )


def held_out_keys(keys: SplitKeys, catalogue: Catalogue) -> SplitKeys:
    """The keys of the same split for the prompts of the classes that are held out."""
    return replace(keys, classes=catalogue.held_out)


def prompts_of_splits(splits: Sequence[SplitKeys]) -> list[list[str]]:
    """Each class's prompts in all these splits of one data set, every prompt once."""
    of_class = zip(*(split.prompts_of_class for split in splits), strict=True)
    return [
        _distinct(prompt for prompts in of_split for prompt in prompts) for of_split in of_class
    ]


def prompts_for(class_name: str, domains: Sequence[str], style: PromptStyle) -> list[str]:
    """The prompts whose mean embedding represents a class (paper, table E1 or E2).

    "class" is the single prompt `a photo of a {class}`; "domain" is `A {domain} of a {class}` for
    each source domain. Underscores are read as spaces.
    """
    named = class_name.replace("_", " ")
    if style == "class":
        return [f"a photo of a {named}"]
    return [f"A {domain.replace('_', ' ')} of a {named}" for domain in domains]


def text_key(fingerprint: str, text: str) -> EmbeddingKey:
    """The key of a prompt's embedding."""
    return EmbeddingKey(model_fingerprint=fingerprint, modality="text", item=text_item(text))


def view_keys(fingerprint: str, item: ImageFile, *, views: int, size: int) -> list[EmbeddingKey]:
    """The keys of an image's first `views` views at `size` pixels."""
    return [
        EmbeddingKey(
            model_fingerprint=fingerprint,
            modality="image",
            item=item.digest,
            view=view_name(k, size, is_sent_as_file=item.is_sent_as_file),
        )
        for k in range(views)
    ]


def original_key(fingerprint: str, item: ImageFile) -> EmbeddingKey:
    """The key of view 0, the image as it is, which no image size changes."""
    return view_keys(fingerprint, item, views=1, size=0)[0]


def _distinct(values: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(values))
