"""The purchase: what is bought, from whom, and how much may be paid for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr

from student.errors import BadInput
from student.options.section import Count, Positive, UserPath, option
from student.options.shard import Shard
from student.options.wire import WireOptions

KEY_VARIABLE = "TEACHER_API_KEY"
SelectorName = Literal["random", "herding", "centroid", "typiclust", "k-center", "margin", "hybrid"]


class PurchaseOptions(WireOptions):
    """Which embeddings are bought, and how."""

    budget: Count | None = option(
        None, "maximum total queries to pay for, over the lifetime of the cache", identifies=False
    )
    shared_budget: str | None = option(
        None,
        "a budget that several caches share, which `distill-client shared-budget create` has made: "
        "a file on this machine, or postgresql://USER@HOST/DATABASE for several machines; in place "
        "of --budget, or below it",
        identifies=False,
    )
    vendor: str = option(
        "http://127.0.0.1:8000", "base URL of the vendor (also TEACHER_URL)", identifies=False
    )
    key_file: UserPath | None = option(
        None, f"file with the API key; without it, {KEY_VARIABLE} is read", identifies=False
    )
    cache: UserPath = option(
        Path("paid-cache"), "folder in which every paid answer is kept", identifies=False
    )
    teacher: str | None = option(
        None, "id of the vendor's model; without it, its first model", identifies=True
    )
    selector: SelectorName = option(
        "random",
        "which images are bought first; random is balanced over classes and domains",
        identifies=True,
    )
    shard: Annotated[str, AfterValidator(lambda text: str(Shard.parse(text)))] | None = option(
        None,
        "K/N: buy part K of N of what a run without this option would buy, then stop; each image "
        "and text is in one part, by its SHA-256. For N workers with a cache each, which "
        "`cache-report merge` joins",
        identifies=False,
    )
    prompts: Literal["class", "domain"] = option(
        "class",
        'text bought for a class: "a photo of a {class}", or the mean of '
        '"A {domain} of a {class}" over the source domains',
        identifies=True,
    )
    batch_size: Positive = option(64, "images or texts in one request", identifies=False)
    concurrency: Positive = option(
        4, "maximum number of requests open at the same time", identifies=False
    )

    @property
    def part(self) -> Shard | None:
        """The part of the purchase that `shard` names."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def has_budget(self) -> bool:
        """Whether a budget of the client's own limits what is bought."""
        return self.budget is not None or self.shared_budget is not None


def api_key(options: PurchaseOptions) -> SecretStr:
    """The vendor's key, from the file or the environment, never from the command line.

    Raises BadInput if there is none.
    """
    if options.key_file is not None:
        try:
            key = options.key_file.read_text("utf-8").strip()
        except OSError as error:
            message = f"cannot read key file {options.key_file}: {error.strerror}"
            raise BadInput(message) from error
        except UnicodeDecodeError:
            # The cause is dropped: the bytes in its message could be part of a key.
            message = f"key file {options.key_file} is not valid UTF-8"
            raise BadInput(message) from None
    else:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        message = f"no API key: set {KEY_VARIABLE} or name a file with --key-file"
        raise BadInput(message)
    return SecretStr(key)
