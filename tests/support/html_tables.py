"""Reads an HTML page as a person does: its tables by caption, its links, and what it would load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_DASH = "\N{EN DASH}"
_VOID = frozenset({"meta", "rect", "link", "img", "br", "hr", "input"})
_LOADS = frozenset(
    {"src", "srcset", "data", "action", "poster", "background", "style", "xlink:href"}
)


@dataclass(slots=True, kw_only=True)
class Cell:
    """A cell: its text, and the receipts that it leads to."""

    text: str = ""
    links: list[str] = field(default_factory=list)

    @property
    def receipts(self) -> set[int]:
        """The numbers of the receipts, ranges filled in: a dash is between two."""
        numbers: set[int] = set()
        for part in self.text.partition("receipt")[2].lstrip("s").split():
            first, _, last = part.partition(_DASH)
            numbers |= set(range(int(first), int(last or first) + 1))
        return numbers


class Page(HTMLParser):
    """An HTML page. AssertionError for tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[Cell]]] = {}
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.headings: list[str] = []
        self.metas: dict[str, str] = {}
        self._open: list[str] = []
        self._caption = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.loads += [f"{tag} {name}" for name in found if name in _LOADS or name[:2] == "on"]
        if "id" in found:
            assert found["id"] not in self.anchors
            self.anchors.add(found["id"])
        if tag == "a":
            self.links.append(found["href"])
            if "td" in self._open:
                self._cell.links.append(found["href"])
        if tag == "meta":
            self.metas[found.get("http-equiv") or found.get("name", "")] = found.get("content", "")
        self._open_cell(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append("")
        if tag not in _VOID:
            self._open.append(tag)

    def _open_cell(self, tag: str) -> None:
        if tag == "table":
            self._caption = ""
        if tag == "tbody":
            self.tables[self._caption] = []
        if tag == "tr" and "tbody" in self._open:
            self.tables[self._caption].append([])
        if tag in ("td", "th") and "tbody" in self._open:
            self.tables[self._caption][-1].append(Cell())

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._open.pop() == tag, f"</{tag}> closes another tag at {self.getpos()}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if "caption" in self._open:
            self._caption += data
        elif "tbody" in self._open and self._open[-1] not in ("tbody", "tr"):
            self._cell.text = f"{self._cell.text}{data}"
        elif self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings[-1] += data

    def rows(self, caption: str) -> list[list[str]]:
        """The texts of a table, row by row, with blanks as one."""
        return [[" ".join(cell.text.split()) for cell in row] for row in self.tables[caption]]

    @property
    def _cell(self) -> Cell:
        return self.tables[self._caption][-1][-1]
