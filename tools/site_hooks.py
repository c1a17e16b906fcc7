"""Hooks of the documentation site (mkdocs.yml): links from pages to files of the repository."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Protocol

LOG = logging.getLogger("mkdocs.hooks.site")  # under `mkdocs`, so that --strict counts warnings
ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>(?![a-z]+:|#)[^)\s#]+)(#[^)\s]*)?\)")


class _File(Protocol):
    src_uri: str


class _Page(Protocol):
    file: _File


def on_page_markdown(markdown: str, page: _Page, **_: Any) -> str:
    """Replaces links to folders and to files outside docs/ by their path in the repository.

    The site holds neither; where the repository itself is read, such a link opens the source. A
    link to a path that does not exist is a warning, which `mkdocs build --strict` makes an error.
    """
    docs = ROOT / "docs"
    source = docs / page.file.src_uri

    def path_instead(link: re.Match[str]) -> str:
        target = (source.parent / link["target"]).resolve()
        if target.is_relative_to(docs) and not target.is_dir():
            return link[0]  # mkdocs checks these itself
        if not target.exists():
            LOG.warning("%s links to %s, which does not exist", page.file.src_uri, link["target"])
        path = f"`{target.relative_to(ROOT)}`"
        text = link["text"]
        if text.strip("`") == path.strip("`"):
            return path
        is_bracketed = link.string[: link.start()].endswith("(")
        return f"{text}, {path}" if is_bracketed else f"{text} ({path})"

    return LINK.sub(path_instead, markdown)
